"""The table of a dataset's rows, of which only those in sight are ever read."""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Final, overload

from textual.content import Content
from textual.geometry import Size

from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.datasets.views import RowView
from mg_tui.tui.widgets.table import Column, Table

KEPT: Final = 2_048  # rows kept beyond those in sight
AROUND: Final = 24  # rows read before and after those in sight

# How a finding's severity is marked: glyph and tone.
MARKS: Final[Mapping[str, tuple[str, str]]] = {"error": ("✗", "failed"), "warning": ("!", "eval"), "note": ("·", "dim")}


class LazyRows(Sequence[RowView]):
    """Rows by their place in the table: all of them, or some numbers of them."""

    def __init__(self) -> None:
        self.total = 0
        self.numbers: Sequence[int] | None = None
        self._kept: OrderedDict[int, RowView] = OrderedDict()
        self.missed: set[int] = set()

    def __len__(self) -> int:
        return self.total if self.numbers is None else len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> RowView: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[RowView]: ...
    def __getitem__(self, index: int | slice) -> RowView | Sequence[RowView]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        number = self.number_at(index)
        row = self._kept.get(number)
        if row is None:
            self.missed.add(number)
            return RowView(number, coming=True)
        return row

    def number_at(self, index: int) -> int:
        """The number of the row at a place.

        Raises:
            IndexError: there is no such place.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        return index + 1 if self.numbers is None else self.numbers[index]

    def place_of(self, number: int) -> int:
        """The place of a row, or of the next one that is shown."""
        place = number - 1 if self.numbers is None else bisect_left(self.numbers, number)
        return min(max(place, 0), max(len(self) - 1, 0))

    def keep(self, rows: Sequence[RowView]) -> None:
        """Rows that were read."""
        for row in rows:
            self._kept[row.number] = row
            self._kept.move_to_end(row.number)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def forget(self) -> None:
        """Forget every row: they are read in another way from now on."""
        self._kept.clear()
        self.missed.clear()


class RowTable(Table[RowView]):
    """Rows by number; `wanted` is called with the numbers of rows to read."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("number", "Row", 7, right=True),
        Column("mark", "", 1),
        Column("question", "Question", 20, grow=3, most=120),
        Column("answer", "Answer", 14, grow=2, most=80, rank=1),
        Column("pictures", "Pics", 4, rank=2, right=True),
    )

    def __init__(self, wanted: Callable[[list[int]], None], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.lazy = LazyRows()
        self.rows = self.lazy
        self.mark_of: Callable[[int], str] = lambda _number: ""  # the worst severity of what was found in a row
        self._wanted = wanted
        self._asking = False

    def key_of(self, row: RowView) -> str:
        return str(row.number)

    def cell_of(self, row: RowView, key: str, width: int) -> Content:
        if key == "number":
            return Content.styled(f"{row.number}", tone("dim"))
        if key == "mark":
            glyph, style = MARKS.get(self.mark_of(row.number), ("✗" if row.problem else "", "failed"))
            return Content.styled(glyph, tone(style, "bold"))
        if row.coming or row.blank:
            said = "…" if row.coming else "(blank line)"
            return Content.styled(said if key == "question" else "", tone("faint"))
        if row.problem:
            return Content.styled({"question": row.question, "answer": row.problem}.get(key, ""), tone("failed"))
        match key:
            case "question":
                return Content(row.question)
            case "answer":
                return Content.styled(row.answer, tone("finished"))
            case _:
                return Content.styled(f"{row.pictures}" if row.pictures != 1 else "", tone("dim"))

    # --- rows come and go

    def sized(self, count: int) -> None:
        """There are so many rows."""
        if count != self.lazy.total:
            self.lazy.total = count
            self._resized()

    def only(self, numbers: Sequence[int] | None) -> None:
        """Show only these rows, ascending; None shows all. The cursor stays on its row where that is shown."""
        here = self.number
        self.lazy.numbers = numbers
        self._resized()
        self.cursor = self.lazy.place_of(here)
        self.post_message(self.Moved())

    def came(self, rows: Sequence[RowView]) -> None:
        """Rows were read."""
        self.lazy.keep(rows)
        self._redraw_changed()

    @property
    def number(self) -> int:
        """The number of the row under the cursor; 1 when there is none."""
        return self.lazy.number_at(self.cursor) if 0 <= self.cursor < len(self.lazy) else 1

    def go_to(self, number: int) -> None:
        """Put the cursor on a row, or on the next that is shown."""
        self.move(self.lazy.place_of(number))

    def _resized(self) -> None:
        self.virtual_size = Size(0, len(self.lazy) + 1)
        self.cursor = min(self.cursor, max(len(self.lazy) - 1, 0))
        self.refresh()

    def _row(self, row: RowView) -> Content:
        if self.lazy.missed and not self._asking:
            self._asking = True
            self.call_after_refresh(self._ask)
        return super()._row(row)

    def _ask(self) -> None:
        """Ask for the rows in sight and some around them."""
        self._asking = False
        self.lazy.missed.clear()
        first = self.scroll_offset.y
        places = range(max(first - AROUND, 0), min(first + self.size.height + AROUND, len(self.lazy)))
        if places:
            self._wanted([self.lazy.number_at(place) for place in places])
