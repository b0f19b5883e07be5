"""Pictures in half cells: every cell shows two pixels, one above the other, as the colours of "▀". Works in every
terminal that has colours; Pillow is imported in the thread that reads the first picture, never before the first frame.
"""

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from textual.color import Color
from textual.content import Content, Span
from textual.style import Style

from mg_tui.core.text import one_line

if TYPE_CHECKING:
    from PIL.Image import Image

HALF: Final = "▀"
Found = list[Content] | str


def half_cells(image: "Image", columns: int, rows: int) -> list[Content]:
    """An RGB picture in at most `columns` x `rows` cells, its proportions kept (a cell is twice as high as wide)."""
    scale = min(columns / image.width, rows * 2 / image.height)
    width, height = max(round(image.width * scale), 1), max(round(image.height * scale), 1)
    height += height % 2
    data = image.resize((width, height), reducing_gap=2.0).tobytes()
    return [_line(data, width, row * 2 * width * 3) for row in range(height // 2)]


def _line(data: bytes, width: int, start: int) -> Content:
    """One row of cells from the two rows of pixels that begin at byte `start`; equal neighbours share a span."""
    spans: list[Span] = []
    below = start + width * 3
    before: tuple[bytes, bytes] | None = None
    for x in range(width):
        here = (data[start + x * 3 : start + x * 3 + 3], data[below + x * 3 : below + x * 3 + 3])
        if here == before:
            spans[-1] = Span(spans[-1].start, x + 1, spans[-1].style)
        else:
            top, bottom = here
            spans.append(Span(x, x + 1, Style(background=Color(*bottom), foreground=Color(*top))))
        before = here
    return Content(HALF * width, spans)


class Pictures:
    """Reads pictures one after the other in a thread of its own and keeps the newest hundred or so."""

    KEPT = 128

    def __init__(self, ready: Callable[[], None]) -> None:
        """`ready` is called, in the thread, when a picture that was asked for has come or could not be read."""
        self._ready = ready
        self._found: dict[tuple[str, int, int], Found | None] = {}
        self._asked: queue.SimpleQueue[tuple[str, int, int] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def get(self, path: Path, columns: int, rows: int) -> Found | None:
        """The picture's lines, a sentence that says why there are none, or None while it is being read."""
        key = (str(path), columns, rows)
        if key not in self._found:
            self._found[key] = None
            self._asked.put(key)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True, name="Pictures")
                self._thread.start()
        return self._found[key]

    def end(self) -> None:
        """Let the thread finish."""
        self._asked.put(None)

    def _work(self) -> None:
        while (key := self._asked.get()) is not None:
            if len(self._found) > self.KEPT:
                self._found = {key: None, **dict(list(self._found.items())[-self.KEPT // 2 :])}
            try:
                from mg_tui.data.images import open_image

                self._found[key] = half_cells(open_image(key[0]), key[1], key[2])
            except Exception as error:  # a picture nobody can read must not cost the others
                self._found[key] = one_line(str(error), limit=300)
            self._ready()
