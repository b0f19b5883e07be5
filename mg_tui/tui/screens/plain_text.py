"""A plain text that can be selected with the mouse: a path, a command, a message.

OSC 52 asks the terminal to copy the text to its clipboard. No terminal replies, and many ignore it, so the screen never
claims that anything was copied.
"""

from typing import ClassVar

from textual.binding import BindingType
from textual.content import Content

from mg_tui.core.text import printable
from mg_tui.tui.actions import bindings
from mg_tui.tui.screens.modal import TextModal
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines

CLIPBOARD_NOTICE = "Sent to the clipboard, if the terminal supports OSC 52."


class PlainTextScreen(TextModal):
    """Shows `text`, wrapped where it must be."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("plain")]
    hint = "y copies · shift+mouse selects · esc closes"

    def __init__(self, heading: str, text: str, note: str = "") -> None:
        """`note`: a sentence below the text."""
        super().__init__()
        self.heading, self.text, self.note = heading, text, note

    def create_body(self) -> "SelectableText":
        return SelectableText(self.text, self.note)

    def action_offer(self) -> None:
        self.app.copy_to_clipboard(self.text)
        self.notify(CLIPBOARD_NOTICE, markup=False)


class SelectableText(Lines):
    """The text without decoration, so that a selection holds nothing else."""

    def __init__(self, text: str, note: str) -> None:
        super().__init__()
        self._text, self._note = printable(text), printable(note)

    def lines(self, width: int) -> list[Content]:
        pieces = [
            row[start : start + width]
            for row in self._text.splitlines() or [""]
            for start in range(0, max(len(row), 1), max(width, 1))
        ]
        note = [Content(), *Content.styled(self._note, tone("dim")).wrap(width)] if self._note else []
        return [*map(Content, pieces), *note]
