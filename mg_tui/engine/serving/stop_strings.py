"""Cuts a text that arrives in pieces at the first stop string."""

from collections.abc import Sequence


class StopStrings:
    """Passes text on until one of some strings occurs in it; holds back what may be the beginning of one.

    Where several occur, the one that is complete first ends the text; of two that end together, the longer.

    Attributes:
        found: whether one occurred. What comes after it is dropped, and so is it.
    """

    def __init__(self, strings: Sequence[str] = ()):
        self.found = False
        self._strings = tuple(string for string in strings if string)
        self._held = ""

    def feed(self, piece: str) -> str:
        """The text that may be passed on after another piece."""
        if self.found:
            return ""
        text = self._held + piece
        # The one that is complete first, so that how the text is cut into pieces changes nothing.
        found = [(place + len(string), place) for string in self._strings if (place := text.find(string)) >= 0]
        if found:
            self.found, self._held = True, ""
            return text[: min(found)[1]]
        keep = max((_overlap(text, string) for string in self._strings), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """What was held back, once the text is complete."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, string: str) -> int:
    """Length of the longest end of `text` that `string` begins with, shorter than `string`."""
    return next((n for n in range(min(len(text), len(string) - 1), 0, -1) if text.endswith(string[:n])), 0)
