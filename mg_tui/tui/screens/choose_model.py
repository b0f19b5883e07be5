"""The choice of the model that a row is asked of."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from mg_tui.config import Settings
from mg_tui.core.errors import describe_exception
from mg_tui.core.text import one_line
from mg_tui.tui.actions import bindings
from mg_tui.tui.models.catalog import ModelRow, find_models
from mg_tui.tui.models.conversation import ChatQuestion
from mg_tui.tui.screens.modal import Dialog
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.models.model_table import ModelTable
from mg_tui.tui.widgets.table import Table


class ChooseModelScreen(Dialog[None]):
    """The models there are; choosing one opens a chat."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("ask")]
    AUTO_FOCUS = "ModelTable"

    def __init__(self, question: ChatQuestion, settings: Settings) -> None:
        super().__init__()
        self._question, self._settings = question, settings

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Static(
                line(("Which model should answer ", "bold"), (self._question.source or "it", "bold"), ("?", "bold"))
            )
            yield Static(Content(one_line(self._question.question, limit=200)), id="detail")
            yield ModelTable()
            yield Static(Content.styled("looking for models …", tone("dim")), id="keys")

    def on_mount(self) -> None:
        self.run_worker(self._find_models, thread=True, exit_on_error=False)

    def _find_models(self) -> None:
        try:
            rows = tuple(row for row in find_models(self._settings.home) if row.kind != "broken")
        except Exception as error:  # whatever a disk or a plugin raises
            problem = Content.styled(describe_exception(error, limit=300), tone("failed"))
            self.app.call_from_thread(self._show_hint, problem)
        else:
            self.app.call_from_thread(self._show, rows)

    def _show(self, rows: tuple[ModelRow, ...]) -> None:
        self.query_one(ModelTable).show(rows)
        self._show_hint(line(("enter", tone("key", "bold")), " chat   ", ("esc", tone("key", "bold")), " none"))

    def _show_hint(self, text: Content) -> None:
        self.query_one("#keys", Static).update(text)

    def on_table_chosen(self, message: Table.Chosen) -> None:
        message.stop()
        self.action_chat()

    def action_chat(self) -> None:
        from mg_tui.tui.screens.chat import ChatScreen

        row = self.query_one(ModelTable).current
        if row is not None:
            self.app.switch_screen(ChatScreen(row, self._question))

    def action_close(self) -> None:
        self.dismiss(None)
