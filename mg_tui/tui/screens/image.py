"""An image as large as the screen, with the question and the answer about it below."""

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

from mg_tui.core.text import one_line
from mg_tui.tui.actions import bindings
from mg_tui.tui.half_cells import ImageLoader
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.lines import Lines, fit, hanging_indent, line


@dataclass(frozen=True, slots=True)
class AnsweredImage:
    """An image's file, what was asked about it and what was answered; texts may be anything."""

    path: Path
    prompt: str = ""
    answer: str = ""


class ImageCells(Lines):
    """The image in half cells, in the middle."""

    DEFAULT_CSS = """
    ImageCells { height: 1fr; }
    """
    path: reactive[Path | None] = reactive(None, repaint=False)

    def __init__(self) -> None:
        super().__init__()
        self._images = ImageLoader(self._came)

    def _came(self) -> None:
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
        found = self._images.get(self.path, width, height)
        if found is None:
            drawn = [Content.styled("reading the image …", tone("dim"))]
        elif isinstance(found, str):
            drawn = Content.styled(f"no image: {found}", tone("failed")).wrap(width)
        else:
            drawn = list(found)
        left = max((width - max(item.cell_length for item in drawn)) // 2, 0)
        above = max((height - len(drawn)) // 2, 0)
        rows = [*[Content()] * above, *(item.pad_left(left) for item in drawn)]
        return [*rows, *[Content()] * max(height - len(rows), 0)]


class ImageCaption(Lines):
    """Which image it is, what was asked and what was answered."""

    DEFAULT_CSS = """
    ImageCaption { padding: 0 1; background: $surface; max-height: 6; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.content_shown: tuple[AnsweredImage, str, str] | None = None  # the image, its number in words, a note

    def show(self, shown: AnsweredImage, number: str, note: str) -> None:
        """Show another caption."""
        self.content_shown = (shown, number, note)
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        if self.content_shown is None:
            return [Content()]
        shown, number, note = self.content_shown
        lines = [fit(line((f"{number}  ", tone("key", "bold")), (one_line(shown.path.name), tone("dim"))), width)]
        for label, text, style in (("asked", shown.prompt, ""), ("answer", shown.answer, "bold")):
            if text:
                said = Content.styled(one_line(text, limit=400), style)
                lines += hanging_indent(Content.styled(label, tone("dim")), said, 8, width)[:2]
        return [*lines, Content.styled(note, tone("eval"))] if note else lines


class ImageScreen(GardenScreen[None]):
    """One image after the other; by the terminal's graphics where the user has chosen so and it works."""

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
            self.query_one(ImageCaption).show(AnsweredImage(Path("no image")), "–", "These answers are about no image.")
            return
        shown, graphics = self.images[self.index], self.dashboard.graphics
        note = note or (f"half cells, for {graphics.why}" if graphics.why else "")
        self.query_one(ImageCaption).show(shown, f"{self.index + 1} of {len(self.images)}", note)
        if graphics.widget_class is None:
            self.query_one(ImageCells).path = shown.path
        else:
            self.run_worker(
                partial(self._load_for_graphics, shown.path), thread=True, exclusive=True, exit_on_error=False
            )

    def _load_for_graphics(self, path: Path) -> None:
        """In a thread: read the image for the terminal's graphics."""
        from mg_tui.data.images import open_image

        try:
            image = open_image(path)
        except Exception as error:  # an image nobody can read is said in its place
            self.app.call_from_thread(self._show_half_cells, path, one_line(str(error), limit=300))
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
        except Exception as error:  # another's widget; half cells always work
            self._show_half_cells(path, one_line(f"{type(error).__name__}: {error}", limit=200))

    def _show_half_cells(self, path: Path, why: str) -> None:
        cells = self.query_one(ImageCells)
        cells.display, cells.path = True, path
        shown = self.images[self.index]
        self.query_one(ImageCaption).show(shown, f"{self.index + 1} of {len(self.images)}", why)

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
