"""Random access to rows of JSON Lines and of JSON arrays through an index; see `mg_tui.data.browser`."""

import os
from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from mg_tui.core.errors import DataError
from mg_tui.data.jsonl import read_row
from mg_tui.data.line_index import LineIndex
from mg_tui.data.progress import ShareProgress, Stop
from mg_tui.data.row_problems import safe_line
from mg_tui.data.rows import MAX_ROW_BYTES, Row
from mg_tui.data.text_search import TextQuery, search_lines

if TYPE_CHECKING:
    from mg_tui.data.item_index import ItemIndex

_BLOCK_BYTES: Final = 2**20


class IndexedBrowser:
    """Reads rows of a JSON Lines file by its line index; see `mg_tui.data.browser.Browser`."""

    def __init__(self, path: Path, cache: Path | None):
        self._path = path
        try:
            self._index = self._open_index(path, cache)
        except OSError as error:
            raise unreadable_row_error(path, error) from None

    def _open_index(self, path: Path, cache: Path | None) -> LineIndex:
        return LineIndex(path, cache)

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
            raise unreadable_row_error(self._path, error) from None

    def read_row(self, number: int) -> Row:
        rows = self.read_rows(number, 1)
        if not rows or rows[0].number != number:
            raise no_such_row_error(self._path, number, self.last_row)
        return rows[0]

    def read_rows(self, first: int, count: int) -> list[Row]:
        first = max(first, 1)
        rows: list[Row] = []
        try:
            with self._path.open("rb") as file:
                self._require_unchanged(file)
                for row in self._rows_from(file, first):
                    rows.append(row)
                    if len(rows) >= count:
                        break
        except OSError as error:
            raise unreadable_row_error(self._path, error) from None
        return rows

    def _rows_from(self, file: BinaryIO, first: int) -> Iterator[Row]:
        line, offset = self._index.nearest_anchor(first - 1)
        file.seek(offset)
        return _read_rows_from(file, first, _skip_lines(file, first - 1 - line, offset))

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
            raise unreadable_row_error(self._path, error) from None


class ItemBrowser(IndexedBrowser):
    """Reads items of a JSON array by their index; see `mg_tui.data.browser.Browser`."""

    _index: "ItemIndex"

    def _open_index(self, path: Path, cache: Path | None) -> "ItemIndex":
        from mg_tui.data.item_index import ItemIndex

        return ItemIndex(path, cache)

    def _rows_from(self, file: BinaryIO, first: int) -> Iterator[Row]:
        rows = self._index.scan(file, first - 1, parse_from=first)
        return dropwhile(lambda row: row.number < first, rows)

    def find(self, text: str, first: int = 1, stop: Stop | None = None) -> Iterator[int]:
        query = TextQuery(text)
        try:
            with self._path.open("rb") as file:
                for row in self._rows_from(file, max(first, 1)):
                    if stop is not None and row.number % 64 == 0 and stop():
                        return
                    if query.matches_row(row):
                        yield row.number
        except OSError as error:
            raise unreadable_row_error(self._path, error) from None


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


def no_such_row_error(where: Path, number: int, count: int | None) -> DataError:
    """The error for a number that no row has; `count` is that of the last row."""
    if count is not None and not 1 <= number <= count:
        return DataError(f"row {number:,} does not exist; the last row is {count:,}", where=safe_line(str(where)))
    return DataError(f"row {number:,} does not exist: the line is blank or missing", where=safe_line(str(where)))


def unreadable_row_error(path: Path, error: OSError) -> DataError:
    """The error for a file that cannot be read."""
    return DataError("cannot read the dataset", where=safe_line(str(path)), why=safe_line(error.strerror or str(error)))
