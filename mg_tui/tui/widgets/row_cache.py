"""Rows of a table that are read when they become visible: those read lately, and which to read next."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, Generic, TypeVar

T = TypeVar("T")
CACHE_ROWS: Final = 2_048
MARGIN_ROWS: Final = 24  # rows read before and after the visible ones


class RowCache(Generic[T]):
    """Up to `CACHE_ROWS` rows by number, those stored last."""

    def __init__(self) -> None:
        self._rows: OrderedDict[int, T] = OrderedDict()
        self.missing = False  # whether a row was asked for that is not here

    def get(self, number: int) -> T | None:
        """A row; without it, `missing` is set."""
        row = self._rows.get(number)
        self.missing = self.missing or row is None
        return row

    def peek(self, number: int) -> T | None:
        """A row, if it was read."""
        return self._rows.get(number)

    def values(self) -> list[T]:
        """The rows that are here."""
        return list(self._rows.values())

    def store(self, rows: Iterable[tuple[int, T]]) -> None:
        """Keep rows that were read, by their numbers."""
        for number, row in rows:
            self._rows[number] = row
            self._rows.move_to_end(number)
        while len(self._rows) > CACHE_ROWS:
            self._rows.popitem(last=False)

    def forget(self, numbers: Iterable[int] | None = None) -> None:
        """Drop these rows, or all."""
        if numbers is None:
            self._rows.clear()
            self.missing = False
        else:
            for number in numbers:
                self._rows.pop(number, None)

    def absent(self, numbers: Iterable[int]) -> list[int]:
        """Those of `numbers` that are not here."""
        return [number for number in numbers if number not in self._rows]


def visible_range(first: int, height: int, count: int) -> range:
    """The indices to read of `count` rows: those in `height` lines from the index `first` on, and some around them."""
    return range(max(first - MARGIN_ROWS, 0), min(first + height + MARGIN_ROWS, count))
