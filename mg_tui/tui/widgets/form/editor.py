"""The field being typed in, laid over its row, with completions below it."""

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
    """Posts what is to be done with what was typed."""

    DEFAULT_CSS = """
    FieldEditor { height: 1; padding: 0; background: $panel; }
    FieldEditor.-wrong { color: $error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("field")]

    class Accepted(Message):
        """The text is to be taken; then the cursor goes on by `step` rows."""

        def __init__(self, text: str, step: int = 0) -> None:
            super().__init__()
            self.text, self.step = text, step

    class Cancelled(Message):
        """The field is to stay as it was."""

    class CompletionRequested(Message):
        """Another completion is asked for: `step` on, or, with 0, the one selected."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    has_completions = False  # there are completions to move over

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(compact=True, id=id)
        self.display = False

    def open(self, text: str, offset: Offset, width: int, *, placeholder: str = "") -> None:
        """Begin at a place of the container; the focus is for who opens it."""
        self.has_completions = False
        self.placeholder = placeholder
        self.value = text
        self.place(offset, width)
        self.display = True  # not by a class, which would count only after a moment: what is out of sight gets no focus
        self.cursor_position = len(text)

    def place(self, offset: Offset, width: int) -> None:
        """Go to a place of the container."""
        self.styles.offset = (offset.x, offset.y)
        self.styles.width = max(width, 8)

    def close(self) -> None:
        """Out of sight."""
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
    """What could be typed; one of them is selected."""

    DEFAULT_CSS = """
    Completions { height: auto; background: $panel; display: none; }
    Completions.-open { display: block; }
    """
    candidates: reactive[tuple[str, ...]] = reactive((), repaint=False)
    selected_index: reactive[int] = reactive(0, repaint=False)

    def open(self, found: tuple[str, ...], offset: Offset, width: int, height: int) -> None:
        """Show `found` below a field at `offset`, or above it where there is no room in `height` rows."""
        shown = min(len(found), MAX_SHOWN)
        below = offset.y + 1 + shown <= height
        self.styles.offset = (offset.x, offset.y + 1 if below else max(offset.y - shown, 0))
        self.styles.width = max(width, 8)
        self.candidates, self.selected_index = found, 0
        self.set_class(bool(found), "-open")
        self.redraw()

    def close(self) -> None:
        """Out of sight."""
        self.remove_class("-open")
        self.candidates = ()

    def step(self, by: int) -> None:
        """Select another."""
        if self.candidates:
            self.selected_index = (self.selected_index + by) % len(self.candidates)
            self.redraw()

    @property
    def selected(self) -> str | None:
        """The one selected."""
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
