"""The table of a dataset's rows, which are read when they become visible."""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Final, overload

from textual.content import Content
from textual.geometry import Size

from mg_tui.tui.datasets.row_view import RowView
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import fit, line
from mg_tui.tui.widgets.row_cache import RowCache, visible_range
from mg_tui.tui.widgets.table import Column, Table

# Glyph and tone of each severity of findings.
SEVERITY_MARKS: Final[Mapping[str, tuple[str, str]]] = {
    "error": ("✗", "failed"),
    "warning": ("!", "eval"),
    "note": ("·", "dim"),
}


class LazyRows(Sequence[RowView]):
    """Rows by their index in the table: all rows of the dataset, or only some numbers."""

    def __init__(self) -> None:
        self.total = 0
        self.visible_numbers: Sequence[int] | None = None
        self.cache = RowCache[RowView]()

    def __len__(self) -> int:
        return self.total if self.visible_numbers is None else len(self.visible_numbers)

    @overload
    def __getitem__(self, index: int) -> RowView: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[RowView]: ...
    def __getitem__(self, index: int | slice) -> RowView | Sequence[RowView]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        number = self.number_at(index)
        return self.cache.get(number) or RowView(number, loading=True)

    def number_at(self, index: int) -> int:
        """The number of the row at an index.

        Raises:
            IndexError: the index is out of range.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        return index + 1 if self.visible_numbers is None else self.visible_numbers[index]

    def index_of(self, number: int) -> int:
        """The index of a row, or of the next row of the table."""
        index = number - 1 if self.visible_numbers is None else bisect_left(self.visible_numbers, number)
        return min(max(index, 0), max(len(self) - 1, 0))

    def store(self, rows: Sequence[RowView]) -> None:
        """Cache rows that were read."""
        self.cache.store((row.number, row) for row in rows)

    def clear_cache(self) -> None:
        """Forget every row: from now on they are read with other options."""
        self.cache.forget()


class RowTable(Table[RowView]):
    """Rows by number."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("number", "Row", 7, align_right=True),
        Column("mark", "", 1),
        Column("question", "Question", 20, grow=3, max_width=120),
        Column("answer", "Answer", 14, grow=2, max_width=80, drop_rank=1),
        Column("images", "Images", 6, drop_rank=2, align_right=True),
    )

    def __init__(self, request_rows: Callable[[list[int]], None], *, id: str | None = None) -> None:
        """`request_rows` is called with the numbers of rows to read."""
        super().__init__(id=id)
        self.lazy_rows = LazyRows()
        self.rows = self.lazy_rows
        self.severity_of: Callable[[int], str] = lambda _number: ""  # the worst severity of a row's findings
        self._request_rows = request_rows
        self._request_pending = False

    def key_of(self, row: RowView) -> str:
        return str(row.number)

    def cell_of(self, row: RowView, key: str, width: int) -> Content:
        if key == "number":
            return Content.styled(f"{row.number}", tone("dim"))
        if key == "mark":
            glyph, style = SEVERITY_MARKS.get(self.severity_of(row.number), ("✗" if row.problem else "", "failed"))
            return Content.styled(glyph, tone(style, "bold"))
        if row.loading or row.blank:
            text = "…" if row.loading else "(blank line)"
            return Content.styled(text if key == "question" else "", tone("faint"))
        if row.problem:
            return Content.styled({"question": row.question, "answer": row.problem}.get(key, ""), tone("failed"))
        match key:
            case "question":
                return Content(row.question)
            case "answer":
                if row.more_turns > 0:
                    more = Content.styled(f" +{row.more_turns} more", tone("dim"))
                    answer = Content.styled(row.answer, tone("finished"))
                    return line(fit(answer, max(width - more.cell_length, 1)), more)
                return Content.styled(row.answer, tone("finished"))
            case _:
                return Content.styled(f"{row.images}", tone("dim"))

    # --- rows

    def set_count(self, count: int) -> None:
        """Set the number of rows."""
        if count != self.lazy_rows.total:
            self.lazy_rows.total = count
            self._count_changed()

    def show_only(self, numbers: Sequence[int] | None) -> None:
        """Show only these rows, ascending; None shows all. The cursor stays on its row, or moves to the next one."""
        number = self.current_number
        self.lazy_rows.visible_numbers = numbers
        self._count_changed()
        self.cursor = self.lazy_rows.index_of(number)
        self.post_message(self.Moved())

    def rows_loaded(self, rows: Sequence[RowView]) -> None:
        """Rows were read."""
        self.lazy_rows.store(rows)
        self.redraw_changed()

    @property
    def current_number(self) -> int:
        """The number of the row under the cursor; 1 when there is none."""
        return self.lazy_rows.number_at(self.cursor) if 0 <= self.cursor < len(self.lazy_rows) else 1

    def go_to(self, number: int) -> None:
        """Put the cursor on a row, or on the next visible one."""
        self.move(self.lazy_rows.index_of(number))

    def _count_changed(self) -> None:
        self.virtual_size = Size(0, len(self.lazy_rows) + 1)
        self.cursor = min(self.cursor, max(len(self.lazy_rows) - 1, 0))
        self.refresh()

    def _row(self, row: RowView) -> Content:
        if self.lazy_rows.cache.missing and not self._request_pending:
            self._request_pending = True
            self.call_after_refresh(self._request_visible)
        return super()._row(row)

    def _request_visible(self) -> None:
        """Request the visible rows and some around them."""
        self._request_pending = self.lazy_rows.cache.missing = False
        if indices := visible_range(self.scroll_offset.y, self.size.height, len(self.lazy_rows)):
            self._request_rows([self.lazy_rows.number_at(index) for index in indices])
