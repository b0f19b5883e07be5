"""Random access to the rows of a dataset: the first rows at once, any row once the file is indexed.

JSON Lines are read through a line index (`mg_tui.data.line_index`), JSON arrays through an index of their items
(`mg_tui.data.item_index`), every other format through its source, a page of rows at a time. Row numbers are those of
the source: in a text file lines from 1, blank ones counted but not returned.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from mg_tui.data.indexed_browser import IndexedBrowser, ItemBrowser, no_such_row_error, unreadable_row_error
from mg_tui.data.progress import ShareProgress, Stop
from mg_tui.data.rows import Row
from mg_tui.data.text_search import TextQuery

if TYPE_CHECKING:
    from mg_tui.data.sources.base import Source

_PAGE_ROWS: Final = 32
_CACHED_PAGES: Final = 8
# Formats whose sources can start at any row for the cost of one row group or batch.
_SEEKABLE_FORMATS: Final = frozenset({"parquet", "arrow", "saved"})


class Browser(Protocol):
    """Random access to rows in bounded memory. Thread-safe."""

    @property
    def last_row(self) -> int | None:
        """The number of the last row; None while it is unknown."""
        ...

    @property
    def indexed_share(self) -> float:
        """Share of the dataset that is indexed, 0 to 1."""
        ...

    def read_row(self, number: int) -> Row:
        """One row.

        Raises:
            DataError: there is no such row, or the file changed or cannot be read.
        """
        ...

    def read_rows(self, first: int, count: int) -> list[Row]:
        """Up to `count` rows in order, beginning with the first whose number is at least `first`.

        Raises:
            DataError: the file changed or cannot be read.
        """
        ...

    def build_index(self, progress: ShareProgress | None = None, stop: Stop | None = None) -> bool:
        """Index the whole dataset, which reads all of it; returns whether the index is complete.

        Args:
            progress: called with `indexed_share` several times a second.
            stop: polled several times a second; True ends it early, what is indexed stays indexed.
        """
        ...

    def find(self, text: str, first: int = 1, stop: Stop | None = None) -> Iterator[int]:
        """Numbers of the rows from `first` on that contain `text`, ignoring case, yielded as they are found."""
        ...


def open_browser(source: "Source", cache: Path | None) -> Browser:
    """A browser of a source; indexes are stored in `cache`, the garden's cache folder.

    Raises:
        DataError: the file cannot be read.
    """
    path = source.path
    try:
        if source.format == "jsonl" and path is not None and source.has_offsets:
            return IndexedBrowser(path, cache)
        if source.format == "json" and path is not None and source.has_offsets:
            return ItemBrowser(path, cache)
    except OSError as error:
        raise unreadable_row_error(path or Path(source.name), error) from None
    return PagedBrowser(source)


class PagedBrowser:
    """Reads rows of any source by pages and caches the last few; see `Browser`."""

    def __init__(self, source: "Source"):
        self._source = source
        self._where = Path(str(source.path or source.name))
        self._lock = threading.RLock()
        self._pages: OrderedDict[int, list[Row]] = OrderedDict()
        self._stream: Iterator[Row] | None = None
        self._next_page = 0
        self._count = source.count()

    @property
    def last_row(self) -> int | None:
        return self._count

    @property
    def indexed_share(self) -> float:
        return 1.0 if self._count is not None else 0.0

    def build_index(self, progress: ShareProgress | None = None, stop: Stop | None = None) -> bool:
        if self._count is None:
            last = 0
            for row in self._source.rows():
                last = row.number
                if last % 256 == 0:
                    if stop is not None and stop():
                        return False
                    if progress is not None:
                        progress(0.0)  # the total is not known yet
            self._count = last
        if progress is not None:
            progress(1.0)
        return True

    def read_row(self, number: int) -> Row:
        rows = self.read_rows(number, 1)
        if not rows or rows[0].number != number:
            raise no_such_row_error(self._where, number, self.last_row)
        return rows[0]

    def read_rows(self, first: int, count: int) -> list[Row]:
        first = max(first, 1)
        rows: list[Row] = []
        page = (first - 1) // _PAGE_ROWS
        while len(rows) < count and (self._count is None or page * _PAGE_ROWS < self._count):
            page_rows = self._page(page)
            if page_rows is None:
                break
            rows += [row for row in page_rows if row.number >= first][: count - len(rows)]
            page += 1
        return rows

    def _page(self, page: int) -> list[Row] | None:
        """Rows `page * _PAGE_ROWS + 1` to `(page + 1) * _PAGE_ROWS`; None past the last row."""
        with self._lock:
            if page in self._pages:
                self._pages.move_to_end(page)
                return self._pages[page]
            reachable = self._stream is not None and self._next_page <= page
            if not reachable or (page > self._next_page and self._source.format in _SEEKABLE_FORMATS):
                self._stream, self._next_page = self._source.rows(page * _PAGE_ROWS + 1), page
            while self._next_page <= page:
                rows = self._read_page()
                if rows is None:
                    return None
            return rows

    def _read_page(self) -> list[Row] | None:
        assert self._stream is not None
        first, last = self._next_page * _PAGE_ROWS + 1, (self._next_page + 1) * _PAGE_ROWS
        rows: list[Row] = []
        while len(rows) < _PAGE_ROWS:
            row = next(self._stream, None)
            if row is None:
                self._stream = None
                self._count = rows[-1].number if rows else (self._count if self._count is not None else first - 1)
                break
            rows.append(row)
            if row.number >= last:
                break
        if rows:
            self._pages[self._next_page] = rows
            while len(self._pages) > _CACHED_PAGES:
                self._pages.popitem(last=False)
            self._next_page += 1
        return rows or None

    def find(self, text: str, first: int = 1, stop: Stop | None = None) -> Iterator[int]:
        query = TextQuery(text)
        for row in self._source.rows(max(first, 1)):
            if stop is not None and row.number % 64 == 0 and stop():
                return
            if query.matches_row(row):
                yield row.number
