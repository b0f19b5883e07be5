"""An image as large as the screen, with its question and answer below."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.errors import describe_exception
from mg_tui.core.text import one_line
from mg_tui.tui.actions import bindings
from mg_tui.tui.half_cells import ImageLoader, describe_image_error, loaded_lines
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.lines import Lines, fit, hanging_indent, line


@dataclass(frozen=True, slots=True)
class AnsweredImage:
    """An image's file, the prompt about it and the answer; texts may hold anything."""

    path: Path
    prompt: str = ""
    answer: str = ""


class ImageCells(Lines):
    """The image in half cells, centered."""

    DEFAULT_CSS = """
    ImageCells { height: 1fr; }
    """
    path: reactive[Path | None] = reactive(None, repaint=False)

    def __init__(self) -> None:
        super().__init__()
        self._images = ImageLoader(self._image_loaded)

    def _image_loaded(self) -> None:
        if self.is_running:
            self.app.call_later(self.redraw)

    def watch_path(self) -> None:
        self.redraw()

    def on_resize(self) -> None:
        self.redraw()

    def on_unmount(self) -> None:
        self._images.stop()

    def lines(self, width: int) -> list[Content]:
        height = self.content_size.height
        if self.path is None or not height:
            return [Content()]
        image = self._images.get(self.path, width, height)
        drawn = loaded_lines(image, width, loading="reading the image …", failed="no image: ")
        left = max((width - max(item.cell_length for item in drawn)) // 2, 0)
        above = max((height - len(drawn)) // 2, 0)
        rows = [*[Content()] * above, *(item.pad_left(left) for item in drawn)]
        return [*rows, *[Content()] * max(height - len(rows), 0)]


class ImageCaption(Lines):
    """Number and name of the image, its prompt and its answer."""

    DEFAULT_CSS = """
    ImageCaption { padding: 0 1; background: $surface; max-height: 6; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._caption: tuple[AnsweredImage, str, str] | None = None  # the image, its number as text, a note

    def show(self, image: AnsweredImage, number: str, note: str) -> None:
        """Show another caption."""
        self._caption = (image, number, note)
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        if self._caption is None:
            return [Content()]
        image, number, note = self._caption
        lines = [fit(line((f"{number}  ", tone("key", "bold")), (one_line(image.path.name), tone("dim"))), width)]
        for label, text, style in (("asked", image.prompt, ""), ("answer", image.answer, "bold")):
            if text:
                content = Content.styled(one_line(text, limit=400), style)
                lines += hanging_indent(Content.styled(label, tone("dim")), content, 8, width)[:2]
        return [*lines, Content.styled(note, tone("eval"))] if note else lines


class ImageScreen(GardenScreen[None]):
    """One image after the other; by the terminal's graphics where the user chose them and they work."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("image")]

    def __init__(self, images: Sequence[AnsweredImage]) -> None:
        super().__init__()
        self.images = list(images)
        self.index = 0

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield Container(ImageCells(), id="image")
        yield ImageCaption()
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(TopBar).breadcrumb = "images"
        self._show()

    def _show(self, note: str = "") -> None:
        if not self.images:
            self.query_one(ImageCaption).show(AnsweredImage(Path("no image")), "–", "These answers have no image.")
            return
        image, graphics = self.images[self.index], self.dashboard.graphics
        note = note or (f"half cells, for {graphics.why}" if graphics.why else "")
        self.query_one(ImageCaption).show(image, f"{self.index + 1} of {len(self.images)}", note)
        if graphics.widget_class is None:
            self.query_one(ImageCells).path = image.path
        else:
            work = partial(self._load_for_graphics, image.path)
            self.run_worker(work, thread=True, exclusive=True, exit_on_error=False)

    def _load_for_graphics(self, path: Path) -> None:
        """In a thread: read the image for the terminal's graphics."""
        from mg_tui.data.images import open_image

        try:
            image = open_image(path)
        except Exception as error:  # shown in place of the image
            self.app.call_from_thread(self._show_half_cells, path, describe_image_error(error))
            return
        self.call_later(self._mount_graphics, path, image)

    async def _mount_graphics(self, path: Path, image: object) -> None:
        if not self.is_attached or self.images[self.index].path != path:
            return
        holder = self.query_one("#image", Container)
        try:
            widget = self.dashboard.graphics.create_widget(image)  # type: ignore[arg-type]
            await holder.query(".drawn").remove()
            widget.add_class("drawn")
            self.query_one(ImageCells).display = False
            await holder.mount(widget)
        except Exception as error:  # of a third-party widget; half cells always work
            self._show_half_cells(path, describe_exception(error, limit=200))

    def _show_half_cells(self, path: Path, why: str) -> None:
        cells = self.query_one(ImageCells)
        cells.display, cells.path = True, path
        self.query_one(ImageCaption).show(self.images[self.index], f"{self.index + 1} of {len(self.images)}", why)

    def action_after(self) -> None:
        self._show_other(1)

    def action_before(self) -> None:
        self._show_other(-1)

    def _show_other(self, by: int) -> None:
        if self.images:
            self.index = (self.index + by) % len(self.images)
            self._show()

    def action_back(self) -> None:
        self.dashboard.pop_screen()
