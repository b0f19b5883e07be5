"""A box that shows one of several images, as large as there is room, with its caption."""

from collections.abc import Sequence
from typing import Final

from textual.content import Content

from mg_tui.core.text import one_line
from mg_tui.tui.half_cells import ImageLoader, loaded_lines
from mg_tui.tui.image_view import ImageView
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, fit, line

UNREADABLE: Final = "✗ unreadable image"


class ImageBox(Lines):
    """Shows one of several images; reads them in a thread."""

    DEFAULT_CSS = """
    ImageBox { width: 32; height: 1fr; padding: 0 1; }
    """

    def __init__(self, empty: str = "", *, missing: str = "", id: str | None = None) -> None:
        """`empty`: the text without an image; `missing`: in place of one without a file, where the reason is shown
        elsewhere."""
        super().__init__(id=id)
        self.missing = missing
        self.reason_shown = False  # whether the screen says why the image cannot be read
        self._empty = empty
        self._views: tuple[ImageView, ...] = ()
        self.index = 0
        self._images = ImageLoader(self._image_loaded)

    def _image_loaded(self) -> None:
        if self.is_running:
            self.app.call_later(self.redraw)

    def on_unmount(self) -> None:
        self._images.stop()

    @property
    def count(self) -> int:
        """How many images there are."""
        return len(self._views)

    def show(self, views: Sequence[ImageView], *, empty: str | None = None) -> None:
        """Show the first of these images; `empty` replaces the text without an image."""
        if tuple(views) == self._views and empty in (None, self._empty):
            return
        self._views, self.index = tuple(views), 0
        self._empty = self._empty if empty is None else empty
        self.redraw()

    def step(self, by: int = 1) -> None:
        """Show the next one; after the last, the first."""
        if self._views:
            self.index = (self.index + by) % len(self._views)
            self.redraw()

    def lines(self, width: int) -> list[Content]:
        height = self.content_size.height
        if not self._views:
            text = Content.styled(self._empty, tone("dim")).wrap(max(width, 8))
            return [*[Content()] * max((height - len(text)) // 2, 0), *(_centered(item, width) for item in text)]
        view = self._views[self.index]
        lines = [_centered(item, width) for item in self._image_lines(view, width, max(height - 1, 1))]
        number = f"{self.index + 1}/{len(self._views)} " if len(self._views) > 1 else ""
        caption = fit(line((number, tone("eval", "bold")), (one_line(view.caption, limit=200), tone("dim"))), width)
        return [*lines[: max(height - 1, 1)], _centered(caption, width)]

    def _image_lines(self, view: ImageView, columns: int, rows: int) -> list[Content]:
        if view.path is None:
            text = self.missing or one_line(view.placeholder, limit=400)
            return Content.styled(text, tone("failed")).wrap(max(columns, 8))
        image = self._images.get(view.path, max(columns, 1), max(rows, 1))
        if isinstance(image, str) and self.reason_shown:
            image = UNREADABLE
        return loaded_lines(image, columns, loading="reading …")


def _centered(content: Content, width: int) -> Content:
    return content.pad_left(max((width - content.cell_length) // 2, 0))
