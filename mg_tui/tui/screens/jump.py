"""Typing the number of a row."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from mg_tui.tui.actions import bindings
from mg_tui.tui.theme import tone


class JumpScreen(ModalScreen[int | None]):
    """Returns a number from 1, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("jump")]
    AUTO_FOCUS = "Input"

    def __init__(self, last: int | None, question: str = "Go to row") -> None:
        super().__init__()
        self._last, self._question = last, question

    def compose(self) -> ComposeResult:
        limits = f" (1 to {self._last:,})" if self._last is not None else ""
        with Vertical(id="dialog"):
            yield Static(Content.styled(f"{self._question}{limits}", "bold"))
            yield Input(placeholder="number", restrict=r"[0-9_,.]*", id="number", compact=True)
            yield Static(Content(), id="problem")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        digits = "".join(character for character in event.value if character.isdecimal())
        number = int(digits[:12] or 0)
        if number < 1 or (self._last is not None and number > self._last):
            text = "rows are numbered from 1" + (f" to {self._last:,}" if self._last is not None else "")
            self.query_one("#problem", Static).update(Content.styled(text, tone("failed")))
        else:
            self.dismiss(number)

    def action_close(self) -> None:
        self.dismiss(None)
