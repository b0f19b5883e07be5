"""Random access to the rows of a dataset: the first rows at once, any row once the file is indexed.

JSON Lines are read through a line index (`mg_tui.data.line_index`), every other format through its source, a page of
rows at a time. Row numbers are those of the source: in a text file lines from 1, blank ones counted but not returned.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from mg_tui.core.errors import DataError
from mg_tui.data.jsonl import read_row
from mg_tui.data.line_index import LineIndex
from mg_tui.data.progress import ShareProgress, Stop
from mg_tui.data.row_problems import safe_line
from mg_tui.data.rows import MAX_ROW_BYTES, Row
from mg_tui.data.text_search import TextQuery, search_lines

if TYPE_CHECKING:
    from mg_tui.data.sources.base import Source

_BLOCK_BYTES: Final = 2**20
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
    except OSError as error:
        raise _unreadable_error(path or Path(source.name), error) from None
    return PagedBrowser(source)


class IndexedBrowser:
    """Reads rows of a JSON Lines file by its line index; see `Browser`."""

    def __init__(self, path: Path, cache: Path | None):
        self._path = path
        try:
            self._index = LineIndex(path, cache)
        except OSError as error:
            raise _unreadable_error(path, error) from None

    @property
    def last_row(self) -> int | None:
        return self._index.line_count

    @property
    def indexed_share(self) -> float:
        return self._index.scanned_share

    def build_index(self, progress: ShareProgress | None = None, stop: Stop | None = None) -> bool:
        return self._build(progress, stop, None)

    def index_up_to(self, number: int, progress: ShareProgress | None = None, stop: Stop | None = None) -> bool:
        """Index the file up to a row."""
        return self._build(progress, stop, number)

    def _build(self, progress: ShareProgress | None, stop: Stop | None, until: int | None) -> bool:
        try:
            return self._index.build(progress, stop, until=until)
        except OSError as error:
            raise _unreadable_error(self._path, error) from None

    def read_row(self, number: int) -> Row:
        rows = self.read_rows(number, 1)
        if not rows or rows[0].number != number:
            raise _no_such_row_error(self._path, number, self.last_row)
        return rows[0]

    def read_rows(self, first: int, count: int) -> list[Row]:
        first = max(first, 1)
        rows: list[Row] = []
        try:
            with self._path.open("rb") as file:
                self._require_unchanged(file)
                line, offset = self._index.nearest_anchor(first - 1)
                file.seek(offset)
                offset = _skip_lines(file, first - 1 - line, offset)
                for row in _read_rows_from(file, first, offset):
                    rows.append(row)
                    if len(rows) >= count:
                        break
        except OSError as error:
            raise _unreadable_error(self._path, error) from None
        return rows

    def _require_unchanged(self, file: BinaryIO) -> None:
        status = os.fstat(file.fileno())
        if (status.st_size, status.st_mtime_ns) != (self._index.identity.size, self._index.identity.mtime_ns):
            raise DataError(
                "the dataset was modified while it was being read", where=safe_line(str(self._path)), hint="reopen it"
            )

    def find(self, text: str, first: int = 1, stop: Stop | None = None) -> Iterator[int]:
        query = TextQuery(text)
        try:
            with self._path.open("rb") as file:
                line, offset = self._index.nearest_anchor(max(first, 1) - 1)
                file.seek(offset)
                offset = _skip_lines(file, max(first, 1) - 1 - line, offset)
                yield from search_lines(file, max(first, 1), offset, query, stop)
        except OSError as error:
            raise _unreadable_error(self._path, error) from None


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
            raise _no_such_row_error(self._where, number, self.last_row)
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


def _skip_lines(file: BinaryIO, lines: int, offset: int) -> int:
    """Skip lines; the byte offset after them."""
    while lines > 0 and (part := file.readline(_BLOCK_BYTES)):
        offset += len(part)
        lines -= part.endswith(b"\n")
    return offset


def _read_rows_from(file: BinaryIO, number: int, offset: int) -> Iterator[Row]:
    while line := file.readline(MAX_ROW_BYTES):
        length = len(line)
        while not line.endswith(b"\n") and len(line) >= MAX_ROW_BYTES and (part := file.readline(_BLOCK_BYTES)):
            length += len(part)
            if part.endswith(b"\n"):
                break
        row = read_row(number, line, offset, length)
        if row is not None:
            yield row
        number += 1
        offset += length


def _no_such_row_error(where: Path, number: int, count: int | None) -> DataError:
    if count is not None and not 1 <= number <= count:
        return DataError(f"row {number:,} does not exist; the last row is {count:,}", where=safe_line(str(where)))
    return DataError(f"row {number:,} does not exist: the line is blank or missing", where=safe_line(str(where)))


def _unreadable_error(path: Path, error: OSError) -> DataError:
    return DataError("cannot read the dataset", where=safe_line(str(path)), why=safe_line(error.strerror or str(error)))
