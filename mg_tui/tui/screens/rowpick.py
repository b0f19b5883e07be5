"""A row of a dataset is picked for a chat: first the dataset, then the row's number."""

from textual.screen import ModalScreen

from mg_tui.tui.widgets.models.talk import Asked


class RowPickScreen(ModalScreen[Asked | None]):
    """Answers with the row's picture and question, or None."""
