"""Images in half cells: every cell shows two pixels, one above the other, as the two colors of "▀".

Works in every terminal with colors. Pillow is imported in the thread that reads the first image, never before the first
frame.
"""

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from textual.color import Color
from textual.content import Content, Span
from textual.style import Style

from mg_tui.core.errors import describe_exception
from mg_tui.core.text import one_line
from mg_tui.tui.theme import tone

if TYPE_CHECKING:
    from PIL.Image import Image

HALF_BLOCK: Final = "▀"
LoadedImage = list[Content] | str


def render_half_cells(image: "Image", columns: int, rows: int) -> list[Content]:
    """An RGB image in at most `columns` x `rows` cells, its proportions kept (a cell is twice as high as wide)."""
    scale = min(columns / image.width, rows * 2 / image.height)
    width, height = max(round(image.width * scale), 1), max(round(image.height * scale), 1)
    height += height % 2
    data = image.resize((width, height), reducing_gap=2.0).tobytes()
    return [_render_line(data, width, row * 2 * width * 3) for row in range(height // 2)]


def _render_line(data: bytes, width: int, start: int) -> Content:
    """One row of cells from the two rows of pixels that begin at byte `start`; equal neighbors share a span."""
    spans: list[Span] = []
    below = start + width * 3
    previous: tuple[bytes, bytes] | None = None
    for x in range(width):
        pixels = (data[start + x * 3 : start + x * 3 + 3], data[below + x * 3 : below + x * 3 + 3])
        if pixels == previous:
            spans[-1] = Span(spans[-1].start, x + 1, spans[-1].style)
        else:
            top, bottom = pixels
            spans.append(Span(x, x + 1, Style(background=Color(*bottom), foreground=Color(*top))))
        previous = pixels
    return Content(HALF_BLOCK * width, spans)


class ImageLoader:
    """Reads images one after the other in a thread and caches the newest."""

    CACHE_SIZE = 128

    def __init__(self, ready: Callable[[], None]) -> None:
        """`ready` is called in the thread when a requested image was read or could not be read."""
        self._ready = ready
        self._cache: dict[tuple[str, int, int], LoadedImage | None] = {}
        self._requests: queue.SimpleQueue[tuple[str, int, int] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def get(self, path: Path, columns: int, rows: int) -> LoadedImage | None:
        """The image's lines, the reason why it cannot be read, or None while it is being read."""
        key = (str(path), columns, rows)
        if key not in self._cache:
            self._cache[key] = None
            self._requests.put(key)
            if self._thread is None:
                self._thread = threading.Thread(target=self._load_requested, daemon=True, name="Images")
                self._thread.start()
        return self._cache[key]

    def stop(self) -> None:
        """Let the thread finish; does not wait for it."""
        self._requests.put(None)

    def _load_requested(self) -> None:
        while (key := self._requests.get()) is not None:
            if len(self._cache) > self.CACHE_SIZE:
                self._cache = {key: None, **dict(list(self._cache.items())[-self.CACHE_SIZE // 2 :])}
            try:
                from mg_tui.data.images import open_image

                self._cache[key] = render_half_cells(open_image(key[0]), key[1], key[2])
            except Exception as error:  # one unreadable image must not cost the others
                self._cache[key] = describe_image_error(error)
            self._ready()


def describe_image_error(error: Exception) -> str:
    """Why an image cannot be read, on one line; bugs with their type."""
    from mg_tui.data.images import ImageError

    return one_line(str(error), limit=300) if isinstance(error, ImageError) else describe_exception(error, limit=300)


def loaded_lines(
    image: LoadedImage | None, width: int, *, loading: str, failed: str = "", style: str = "failed"
) -> list[Content]:
    """What `ImageLoader.get` returned as lines of `width` cells.

    Args:
        loading: text while the image is being read.
        failed: text before the reason why it cannot be read, which has the tone `style`.
    """
    if image is None:
        return [Content.styled(loading, tone("dim"))]
    if isinstance(image, str):
        return Content.styled(f"{failed}{image}", tone(style)).wrap(max(width, 8))
    return list(image)
