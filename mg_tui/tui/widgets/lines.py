"""A widget whose lines are laid out for its width: nothing in it ever wraps by accident."""

from collections.abc import Iterable
from typing import Final

from textual import events
from textual.content import Content
from textual.geometry import Region, Size
from textual.style import Style
from textual.widget import Widget

CLICK_META: Final = "act"  # not Textual's "@click", which would draw the text as a link

LinePiece = tuple[str, str] | Content | str


class Lines(Widget):
    """Subclasses define `lines(width)`, and call `redraw` when the lines changed. As tall as it has lines.

    Over a slow link the bytes sent count: `redraw` only draws the lines that differ from before.
    """

    DEFAULT_CSS = """
    Lines { height: auto; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._drawn_lines: list[Content] = []
        self._line_cache: tuple[Size, list[Content]] | None = None

    def lines(self, width: int) -> list[Content]:
        """The text at `width` cells, a line each; colors are tones of the theme."""
        raise NotImplementedError

    def render(self) -> Content:
        size = self.content_size
        if self._line_cache is None or self._line_cache[0] != size:
            self._line_cache = (size, self._fit_lines(size.width))
        self._drawn_lines = self._line_cache[1]
        return Content("\n").join(self._drawn_lines)

    def _fit_lines(self, width: int) -> list[Content]:
        return [fit(content, width) for content in self.lines(width)]

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return max(len(self.lines(width)), 1)

    def on_show(self) -> None:
        """What changed while it was hidden was not drawn, though it still has the size it had before."""
        self._line_cache = None
        self.refresh(layout=True)

    async def on_click(self, event: events.Click) -> None:
        action = event.style.meta.get(CLICK_META)
        if isinstance(action, str):
            await self.run_action(action)

    def redraw(self) -> None:
        """Draw the lines that changed; lay out again when their number changed."""
        size, before = self.content_size, self._drawn_lines
        self._line_cache = None
        if not size:  # hidden: it is laid out when it becomes visible
            self.clear_cached_dimensions()
            if self.is_attached and all(node.display for node in self.ancestors_with_self if isinstance(node, Widget)):
                self.refresh(layout=True)
            return
        lines = self._fit_lines(size.width)
        self._line_cache = (size, lines)
        if len(lines) != len(before):
            self.refresh(layout=True)
            return
        changed = [y for y, (new, old) in enumerate(zip(lines, before, strict=True)) if not new.is_same(old)]
        if changed:
            self.refresh(*(Region(0, y, size.width, 1) for y in changed if y < size.height))


def line(*pieces: LinePiece) -> Content:
    """Texts, (text, style) pairs and contents joined. Text is never read as markup."""
    return Content.assemble(*pieces)


def fit(content: Content, width: int) -> Content:
    """`content` cut to `width` cells, with an ellipsis when something was cut off."""
    return content.truncate(max(width, 0), ellipsis=True)


def cell(content: Content, width: int, *, right: bool = False) -> Content:
    """`content` in exactly `width` cells."""
    content = fit(content, width)
    missing = max(width - content.cell_length, 0)
    return content.pad_left(missing) if right else content.pad_right(missing)


def justify(left: Content, right: Content, width: int) -> Content:
    """`left` and `right` at the two ends of a line; `left` is cut off when both do not fit."""
    room = width - right.cell_length - 2
    if room < 8:
        return fit(left, width)
    return line(cell(left, room), "  ", right)


def join_fitting(parts: Iterable[Content], width: int, gap: str = "   ") -> Content:
    """As many of `parts`, from the first, as fit in `width` cells."""
    result: Content | None = None
    for part in parts:
        longer = part if result is None else line(result, gap, part)
        if longer.cell_length > width:
            break
        result = longer
    return result if result is not None else Content()


def link(text: str, action: str, style: str) -> Content:
    """Text that runs an action when it is clicked."""
    return Content.styled(text, style).stylize(Style.from_meta({CLICK_META: action}))


def hanging_indent(label: Content, text: Content, indent: int, width: int) -> list[Content]:
    """`label`, then `text` wrapped to the right of it."""
    lines: list[Content] = []
    for paragraph in text.split("\n", allow_blank=True) or [Content()]:
        lines += paragraph.wrap(max(width - indent, 8)) or [Content()]
    return [line(cell(label if index == 0 else Content(), indent), item) for index, item in enumerate(lines)]
