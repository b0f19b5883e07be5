"""Images one at a time, as large as there is room, each with a line that says which it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from textual.content import Content

from mg_tui.core.text import one_line
from mg_tui.tui.half_cells import ImageLoader
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, fit, line


@dataclass(frozen=True, slots=True)
class ImageView:
    """An image to show: its file, or the sentence that stands where it would be; and what is said below it."""

    path: Path | None
    caption: str = ""
    placeholder: str = ""


class ImageBox(Lines):
    """Shows one of several images; reads them in a thread."""

    DEFAULT_CSS = """
    ImageBox { width: 32; height: 1fr; padding: 0 1; }
    """

    def __init__(self, empty: str = "", *, id: str | None = None) -> None:
        """`empty`: what stands there when there is no image."""
        super().__init__(id=id)
        self._empty = empty
        self._images_shown: tuple[ImageView, ...] = ()
        self.index = 0
        self._images = ImageLoader(self._came)

    def _came(self) -> None:
        if self.is_running:
            self.app.call_later(self.redraw)

    def on_unmount(self) -> None:
        self._images.stop()

    @property
    def count(self) -> int:
        """How many images there are."""
        return len(self._images_shown)

    def show(self, shown: Sequence[ImageView], *, empty: str | None = None) -> None:
        """Show the first of these."""
        if tuple(shown) == self._images_shown and empty in (None, self._empty):
            return
        self._images_shown, self.index = tuple(shown), 0
        self._empty = self._empty if empty is None else empty
        self.redraw()

    def step(self, by: int = 1) -> None:
        """Show the next one; after the last, the first."""
        if self._images_shown:
            self.index = (self.index + by) % len(self._images_shown)
            self.redraw()

    def lines(self, width: int) -> list[Content]:
        height = self.content_size.height
        if not self._images_shown:
            said = Content.styled(self._empty, tone("dim")).wrap(max(width, 8))
            return [*[Content()] * max((height - len(said)) // 2, 0), *(_centred(item, width) for item in said)]
        shown = self._images_shown[self.index]
        lines = [_centred(item, width) for item in self._image(shown, width, max(height - 1, 1))]
        which = f"{self.index + 1}/{len(self._images_shown)} " if len(self._images_shown) > 1 else ""
        caption = fit(line((which, tone("eval", "bold")), (one_line(shown.caption, limit=200), tone("dim"))), width)
        return [*lines[: max(height - 1, 1)], _centred(caption, width)]

    def _image(self, shown: ImageView, columns: int, rows: int) -> list[Content]:
        if shown.path is None:
            return Content.styled(one_line(shown.placeholder, limit=400), tone("failed")).wrap(max(columns, 8))
        found = self._images.get(shown.path, max(columns, 1), max(rows, 1))
        if found is None:
            return [Content.styled("reading …", tone("dim"))]
        if isinstance(found, str):
            return Content.styled(found, tone("failed")).wrap(max(columns, 8))
        return list(found)


def _centred(content: Content, width: int) -> Content:
    return content.pad_left(max((width - content.cell_length) // 2, 0))
