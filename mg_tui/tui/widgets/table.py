"""A table of any number of rows, of which only the visible ones are drawn.

When the width does not suffice, the columns with the highest rank are dropped; spare width goes to the columns that
grow. The cursor stays on its row when rows come and go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Generic, TypeVar

from rich.segment import Segment
from textual import events
from textual.binding import BindingType
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from mg_tui.tui.actions import bindings
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import cell, line

T = TypeVar("T")
DESCENDING: Final = "▾"
ASCENDING: Final = "▴"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: least width in cells; how fast it grows, up to what width; the rank by which it is dropped."""

    key: str
    title: str
    width: int
    drop_rank: int = 0
    grow: int = 0
    max_width: int = 1_000
    align_right: bool = False


def layout_columns(columns: Sequence[Column], width: int, gap: int) -> list[tuple[Column, int]]:
    """The columns that fit into `width` cells with `gap` cells between them, and their widths."""
    visible = list(columns)
    while len(visible) > 1 and sum(column.width for column in visible) + gap * (len(visible) - 1) > width:
        visible.remove(max(reversed(visible), key=lambda column: column.drop_rank))
    widths = {column.key: min(column.width, width) for column in visible}
    free = width - sum(widths.values()) - gap * (len(visible) - 1)
    while free > 0 and (growing := [item for item in visible if item.grow and widths[item.key] < item.max_width]):
        for column in growing:
            step = min(column.grow, free, column.max_width - widths[column.key])
            widths[column.key] += step
            free -= step
    return [(column, widths[column.key]) for column in visible]


class Table(ScrollView, Generic[T], can_focus=True):
    """Subclasses define `COLUMNS`, `key_of(row)` and `cell_of(row, column key, width)`."""

    DEFAULT_CSS = """
    Table { height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("list")]
    COLUMNS: ClassVar[tuple[Column, ...]] = ()

    cursor: reactive[int] = reactive(0, repaint=False)

    class Moved(Message):
        """The cursor is on another row, or its row changed."""

    class Chosen(Message):
        """The row of the cursor was clicked."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.rows: Sequence[T] = ()
        self.sorted_by: tuple[str, bool] | None = None  # a column's key, and whether the order is descending
        self._layout: list[tuple[Column, int]] = []
        self._gap = 1
        self._width = -1
        self._drawn_rows: dict[int, Content] = {}  # visible rows by their line on the screen

    def key_of(self, row: T) -> str:
        """What identifies a row when rows are replaced."""
        raise NotImplementedError

    def cell_of(self, row: T, key: str, width: int) -> Content:
        """A row's cell at `width` cells."""
        raise NotImplementedError

    @property
    def current(self) -> T | None:
        """The row of the cursor."""
        return self.rows[self.cursor] if 0 <= self.cursor < len(self.rows) else None

    def show(self, rows: Sequence[T]) -> None:
        """Show other rows; the cursor stays on its row if that is among them."""
        key = None if self.current is None else self.key_of(self.current)
        self.rows = rows
        cursor = self.cursor
        if key is not None:
            cursor = next((index for index, row in enumerate(rows) if self.key_of(row) == key), cursor)
        if self.virtual_size.height != len(rows) + 1:
            self.virtual_size = Size(0, len(rows) + 1)
            self.refresh()
        self.cursor = min(cursor, max(len(rows) - 1, 0))
        self.post_message(self.Moved())
        self.redraw_changed()

    def redraw_changed(self) -> None:
        """Draw only the rows that differ from before: over a slow link the bytes sent count."""
        for y, before in list(self._drawn_rows.items()):
            index = y - 1 + self.scroll_offset.y
            if index >= len(self.rows) or not self._row(self.rows[index]).is_same(before):
                self.refresh(Region(0, y, self.size.width, 1))

    def _column_layout(self) -> list[tuple[Column, int]]:
        width = self.scrollable_content_region.width  # `size` has the scrollbar in it
        if width != self._width:
            self._width = width
            self._gap = 2 if width >= 100 else 1
            self._layout = layout_columns(self.columns, width, self._gap)
        return self._layout

    @property
    def columns(self) -> Sequence[Column]:
        """The columns, as far as there is room; `relayout` after a change."""
        return self.COLUMNS

    def relayout(self) -> None:
        """Lay the columns out again, because others were chosen."""
        self._width = -1
        self._drawn_rows.clear()
        self.refresh()

    def on_resize(self) -> None:
        self.virtual_size = Size(0, len(self.rows) + 1)
        self._reveal()

    def watch_cursor(self, before: int, now: int) -> None:
        self._reveal()
        self.post_message(self.Moved())
        for row in (before, now):
            self.refresh(Region(0, row + 1 - self.scroll_offset.y, self.size.width, 1))

    def _reveal(self) -> None:
        """Scroll so that the cursor's row is visible; the first line is the header."""
        page = max(self.size.height - 1, 1)
        if self.cursor < self.scroll_offset.y:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= self.scroll_offset.y + page:
            self.scroll_to(y=self.cursor - page + 1, animate=False, force=True)

    def move(self, to: int) -> None:
        """Put the cursor on a row, or on the nearest one."""
        self.cursor = min(max(to, 0), max(len(self.rows) - 1, 0))

    def action_down(self) -> None:
        self.move(self.cursor + 1)

    def action_up(self) -> None:
        self.move(self.cursor - 1)

    def action_top(self) -> None:
        self.move(0)

    def action_bottom(self) -> None:
        self.move(len(self.rows) - 1)

    def action_page_down(self) -> None:
        self.move(self.cursor + max(self.size.height - 2, 1))

    def action_page_up(self) -> None:
        self.move(self.cursor - max(self.size.height - 2, 1))

    def on_click(self, event: events.Click) -> None:
        row = event.y - 1 + self.scroll_offset.y
        if event.y < 1 or row >= len(self.rows):
            return
        if row == self.cursor:
            self.post_message(self.Chosen())
        self.move(row)

    def render_line(self, y: int) -> Strip:
        index = y - 1 + self.scroll_offset.y
        if y == 0:
            return self._draw(self._header(), "")
        if index >= len(self.rows):
            self._drawn_rows.pop(y, None)
            return Strip.blank(self.size.width, self.rich_style)
        is_current = index == self.cursor
        style = ("on $cursor" if self.has_focus else "on $cursor-blurred") if is_current else ""
        self._drawn_rows[y] = row = self._row(self.rows[index])
        return self._draw(row, style)

    def _header(self) -> Content:
        titles = [cell(self._title(column), width, right=column.align_right) for column, width in self._column_layout()]
        return Content(" " * self._gap).join(titles)

    def _title(self, column: Column) -> Content:
        if self.sorted_by is None or self.sorted_by[0] != column.key:
            return Content.styled(column.title, tone("dim"))
        return line((column.title, "bold"), (DESCENDING if self.sorted_by[1] else ASCENDING, tone("key")))

    def set_sort_mark(self, key: str, *, descending: bool) -> None:
        """Mark the column that the rows are sorted by."""
        if self.sorted_by != (key, descending):
            self.sorted_by = (key, descending)
            self.refresh(Region(0, 0, self.size.width, 1))

    def _row(self, row: T) -> Content:
        return Content(" " * self._gap).join(
            cell(self.cell_of(row, column.key, width), width, right=column.align_right)
            for column, width in self._column_layout()
        )

    def _draw(self, content: Content, style: str) -> Strip:
        width = self.size.width
        content = line(cell(content, width))
        if style:
            content = content.stylize_before(style)
        parts = content.render(self.visual_style, end="")
        return Strip([Segment(text, segment_style.rich_style) for text, segment_style in parts], width)
