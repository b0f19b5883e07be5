"""CSV and TSV as a source: the first record names the fields, every value is text, an empty cell is null."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import dropwhile
from pathlib import Path
from typing import Final

from mg_tui.core.errors import DataError
from mg_tui.data.jsonl import READ_ERRORS, unreadable_error
from mg_tui.data.row_problems import RowProblem, quote_text, safe_line
from mg_tui.data.rows import MAX_ROW_BYTES, Row
from mg_tui.data.sources.base import FormatEvidence, Source
from mg_tui.data.sources.file_types import open_text

_DELIMITERS: Final = (",", "\t", ";", "|")
_PREFIX_BYTES: Final = 4096


class CsvSource(Source):
    """A file of records with a header, optionally compressed. Rows are numbered from 1, without the header."""

    def __init__(self, name: str, path: Path, evidence: FormatEvidence, encoding: str | None = None):
        super().__init__(name, "csv", path, path.parent, evidence)
        self._file = path
        self.encoding = encoding

    def rows(self, start: int = 1) -> Iterator[Row]:
        """See `Source`."""
        return dropwhile(lambda row: row.number < start, self._rows())

    def content_files(self) -> Sequence[Path]:
        """See `Source`."""
        return (self._file,)

    def _rows(self) -> Iterator[Row]:
        any_row = False
        try:
            # Bytes that are not UTF-8 become lone surrogates, which `_to_row` reports.
            opened = open_text(self._file, self.encoding)
            with io.TextIOWrapper(opened, "utf-8-sig", "surrogateescape", newline="") as file:
                for row in self._records(file):
                    any_row = True
                    yield row
        except READ_ERRORS as error:
            raise unreadable_error(self._file, error) from None
        if not any_row:
            raise DataError("the dataset has only a header", where=safe_line(str(self._file)))

    def _records(self, file: io.TextIOWrapper) -> Iterator[Row]:
        first = file.readline(2**20)
        delimiter = max(_DELIMITERS, key=first.count)
        # The limit is global to the csv module.
        csv.field_size_limit(MAX_ROW_BYTES)
        names = next(csv.reader([first], delimiter=delimiter), [])
        self._require_header(names)
        # Lines of bounded length: a file without line ends is not read into memory as a whole.
        lines = _BoundedLines(file)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        number = 0
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except _RowTooLong:
                number += 1
                what = f"has more than {MAX_ROW_BYTES:,} characters, the limit; the rows after it cannot be read"
                yield Row(number, None, RowProblem(number, None, what, "is a quote missing?"))
                return
            except csv.Error as error:
                number += 1
                what = f"is invalid CSV near line {reader.line_num + 1:,}: {safe_line(str(error), limit=120)}"
                yield Row(number, None, RowProblem(number, None, what, "quote values that contain quotes or newlines"))
                continue
            lines.pending = 0
            if cells:
                number += 1
                yield _to_row(number, names, cells, delimiter)

    def _require_header(self, names: list[str]) -> None:
        duplicates = [name for name, count in Counter(names).items() if count > 1]
        if not any(name.strip() for name in names):
            what = "the first line is not a header"
        elif duplicates:
            what = f"duplicate column {quote_text(duplicates[0], limit=60)}"
        else:
            return
        raise DataError(
            what, where=safe_line(str(self._file)), hint="its first line is a header, e.g. text,image,response"
        )


class _RowTooLong(Exception):
    """A row has more than `MAX_ROW_BYTES` characters."""


class _BoundedLines:
    """The lines of a file, as long as a row does not exceed its limit; `pending` are the characters of this row."""

    def __init__(self, file: io.TextIOWrapper):
        self.pending = 0
        self._file = file

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline(MAX_ROW_BYTES)
        if not line:
            raise StopIteration
        self.pending += len(line)
        if self.pending > MAX_ROW_BYTES:
            raise _RowTooLong
        return line


def _to_row(number: int, names: list[str], cells: list[str], delimiter: str) -> Row:
    def bad(what: str, hint: str | None = None) -> Row:
        return Row(number, None, RowProblem(number, None, what, hint, delimiter.join(cells)[:_PREFIX_BYTES]))

    if len(cells) != len(names):
        hint = f"put texts with {'a tab' if delimiter == chr(9) else delimiter} in quotes"
        return bad(f"has {len(cells)} cell{'s' if len(cells) != 1 else ''} but the header has {len(names)}", hint)
    if any(not cell.isascii() and any("\udc80" <= c <= "\udcff" for c in cell) for cell in cells):
        return bad("is not UTF-8", "name its encoding with --dataset-encoding, e.g. cp1252, or save it as UTF-8")
    return Row(number, {name: cell or None for name, cell in zip(names, cells, strict=True)}, None)
