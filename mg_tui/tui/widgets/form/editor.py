"""The field editor, laid over the row of its field, with completions below it."""

from typing import ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.geometry import Offset
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Input

from mg_tui.core.text import one_line
from mg_tui.tui.actions import bindings
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, cell

MAX_SHOWN = 6


class FieldEditor(Input):
    """Posts what is to be done with the typed text."""

    DEFAULT_CSS = """
    FieldEditor { height: 1; padding: 0; background: $panel; }
    FieldEditor.-wrong { color: $error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("field")]

    class Accepted(Message):
        """The text is accepted; then the cursor moves on by `step` rows."""

        def __init__(self, text: str, step: int = 0) -> None:
            super().__init__()
            self.text, self.step = text, step

    class Cancelled(Message):
        """The field keeps its value."""

    class CompletionRequested(Message):
        """Select another completion, `step` on; 0: take the selected one."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    has_completions = False

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(compact=True, id=id)
        self.display = False

    def open(self, text: str, offset: Offset, width: int, *, placeholder: str = "") -> None:
        """Open at an offset of the container; the caller sets the focus."""
        self.has_completions = False
        self.placeholder = placeholder
        self.value = text
        self.place(offset, width)
        self.display = True  # not by a class, which takes effect later: a hidden widget gets no focus
        self.cursor_position = len(text)

    def place(self, offset: Offset, width: int) -> None:
        """Move to an offset of the container."""
        self.styles.offset = (offset.x, offset.y)
        self.styles.width = max(width, 8)

    def close(self) -> None:
        """Hide it."""
        self.display = False
        self.remove_class("-wrong")

    def action_take(self) -> None:
        self.post_message(self.Accepted(self.value))

    def action_leave(self) -> None:
        self.post_message(self.Cancelled())

    def action_complete(self) -> None:
        if self.has_completions:
            self.post_message(self.CompletionRequested(0))
        else:
            self.post_message(self.Accepted(self.value, 1))

    def action_down(self) -> None:
        self._step(1)

    def action_up(self) -> None:
        self._step(-1)

    def _step(self, step: int) -> None:
        self.post_message(self.CompletionRequested(step) if self.has_completions else self.Accepted(self.value, step))


class Completions(Lines):
    """Completions of the typed text; one of them is selected."""

    DEFAULT_CSS = """
    Completions { height: auto; background: $panel; display: none; }
    Completions.-open { display: block; }
    """
    candidates: reactive[tuple[str, ...]] = reactive((), repaint=False)
    selected_index: reactive[int] = reactive(0, repaint=False)

    def open(self, candidates: tuple[str, ...], offset: Offset, width: int, height: int) -> None:
        """Show `candidates` below a field at `offset`, or above it where `height` rows have no room below."""
        visible = min(len(candidates), MAX_SHOWN)
        below = offset.y + 1 + visible <= height
        self.styles.offset = (offset.x, offset.y + 1 if below else max(offset.y - visible, 0))
        self.styles.width = max(width, 8)
        self.candidates, self.selected_index = candidates, 0
        self.set_class(bool(candidates), "-open")
        self.redraw()

    def close(self) -> None:
        """Hide it."""
        self.remove_class("-open")
        self.candidates = ()

    def step(self, by: int) -> None:
        """Select another one."""
        if self.candidates:
            self.selected_index = (self.selected_index + by) % len(self.candidates)
            self.redraw()

    @property
    def selected(self) -> str | None:
        """The selected one."""
        return self.candidates[self.selected_index] if self.selected_index < len(self.candidates) else None

    def lines(self, width: int) -> list[Content]:
        first = min(max(self.selected_index - MAX_SHOWN + 1, 0), max(len(self.candidates) - MAX_SHOWN, 0))
        return [
            cell(
                Content.styled(one_line(text), "on $cursor" if first + index == self.selected_index else tone("dim")),
                width,
            )
            for index, text in enumerate(self.candidates[first : first + MAX_SHOWN])
        ]
