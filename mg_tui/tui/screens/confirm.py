"""A question before something irreversible. The focus is on "no"."""

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Static

from mg_tui.tui.actions import bindings
from mg_tui.tui.screens.modal import Dialog


class ConfirmScreen(Dialog[bool]):
    """Returns True for yes; ignores what was typed before it was drawn. Texts are never read as markup."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("confirm"),
        Binding("left,right,tab,shift+tab", "other", show=False),
    ]
    AUTO_FOCUS = "#no"

    def __init__(self, question: str, detail: str, yes: str) -> None:
        super().__init__()
        self._question, self._detail, self._yes = question, detail, yes
        self._drawn_at: float | None = None  # on the clock of events

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Static(Content.styled(self._question, "bold"))
            yield Static(Content(self._detail), id="detail")
            with Horizontal(id="answers"):
                yield Button(Content("Cancel"), id="no", compact=True)
                yield Button(Content(self._yes), id="yes", variant="error", compact=True)

    def on_mount(self) -> None:
        self.call_after_refresh(self._drawn)

    def _drawn(self) -> None:
        self._drawn_at = events.Event().time

    def accepts(self, event: events.Event) -> bool:
        """Whether `event` was sent after the question was drawn, so that it can be an answer to it."""
        return self._drawn_at is not None and event.time >= self._drawn_at

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_other(self) -> None:
        self.focus_next("Button")

    def action_yes(self) -> None:
        self.dismiss(True)

    def action_no(self) -> None:
        self.dismiss(False)
