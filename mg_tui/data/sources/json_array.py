"""A JSON array as a source: items are delimited by their brackets and parsed one by one, in the memory of one item."""

import re
from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path
from typing import BinaryIO, Final

from mg_tui.core.errors import DataError
from mg_tui.data.jsonl import READ_ERRORS, overlong_problem, parse_row, raw_text, unreadable_error
from mg_tui.data.row_problems import RowProblem, safe_line
from mg_tui.data.rows import MAX_ROW_BYTES, Row
from mg_tui.data.sources.base import FormatEvidence
from mg_tui.data.sources.file_types import open_text
from mg_tui.data.sources.json_lines import TextFileSource

_CHUNK_BYTES: Final = 2**18
_PREFIX_BYTES: Final = 4096
_WHITESPACE: Final = b" \t\r\n"
# A complete string, the start of one that continues after the buffer, or a structural character.
_STRING: Final = rb'"[^"\\]*(?:\\.[^"\\]*)*"|"'
_TOP_LEVEL_TOKEN: Final = re.compile(_STRING + rb"|[\[\]{},]", re.DOTALL)
_NESTED_TOKEN: Final = re.compile(_STRING + rb"|[\[\]{}]", re.DOTALL)
_STRING_TOKEN: Final = re.compile(rb'["\\]')


class JsonArraySource(TextFileSource):
    """A file with one JSON array of objects."""

    def __init__(self, name: str, path: Path, evidence: FormatEvidence, encoding: str | None = None):
        super().__init__(name, "json", path, evidence, encoding)

    def rows(self, start: int = 1) -> Iterator[Row]:
        """See `Source`; rows are numbered from 1."""
        return dropwhile(lambda row: row.number < start, self._rows())

    def _rows(self) -> Iterator[Row]:
        any_row = False
        try:
            with open_text(self._file, self.encoding) as file:
                for row in ArrayScanner(file):
                    any_row = True
                    yield row
        except READ_ERRORS as error:
            raise unreadable_error(self._file, error) from None
        if not any_row:
            raise DataError("the dataset is empty", where=safe_line(str(self._file)))


def iterate_items(file: BinaryIO) -> Iterator[Row]:
    """The items of the array that a stream is, as rows numbered from 1."""
    yield from ArrayScanner(file)


class ArrayScanner:
    """Iterates over the items of an array. `_buffer` starts with the current item; `_at` is the scan position in it.

    Args:
        file: at the beginning of the file, or of an item.
        number: of the items before.
        offset: of the item; None at the beginning of the file.
        parse_from: number of the first row whose values are parsed; None parses none.
    """

    def __init__(self, file: BinaryIO, number: int = 0, offset: int | None = None, *, parse_from: int | None = 1):
        self._file = file
        self._buffer = bytearray()
        self._depth = 0 if offset is None else 1
        self._parse_from = parse_from
        self._dropped = offset or 0  # bytes before the buffer
        self._at = self._begin = 0
        self._length_before = 0  # dropped bytes of the current item
        self._head = b""
        self._number = number

    def __iter__(self) -> Iterator[Row]:
        depth, inside = self._depth, False
        while True:
            pattern = _STRING_TOKEN if inside else _TOP_LEVEL_TOKEN if depth == 1 else _NESTED_TOKEN
            match = pattern.search(self._buffer, self._at)
            if match is None:
                self._at = len(self._buffer)
                if not self._more():
                    break
                continue
            character = match[0]
            if character == b"\\":
                if match.end() == len(self._buffer) and not self._more():
                    break
                self._at = self._buffer.find(b"\\", self._at) + 2
                continue
            self._at = match.end()
            if len(character) > 1:
                continue
            if character == b'"':
                inside = not inside
            elif character in b"[{":
                depth += 1
                if depth == 1:
                    self._begin = self._at
            elif character in b"]}":
                depth -= 1
                if depth == 0:
                    yield from self._item(last=True)
                    yield from self._after()
                    return
            elif depth == 1:
                yield from self._item()
        yield from self._unclosed()

    def _item(self, *, last: bool = False) -> Iterator[Row]:
        """The item that ends before the character just read."""
        text = bytes(self._buffer[self._begin : self._at - 1])
        offset = self._dropped + self._begin - self._length_before
        length = self._length_before + len(text)
        stripped = text.strip(_WHITESPACE)
        if not (last and not stripped and not self._length_before):
            self._number += 1
            if self._length_before:
                yield Row(self._number, None, overlong_problem(self._number, self._head, length), offset, length)
            else:
                offset += len(text) - len(text.lstrip(_WHITESPACE))
                wanted = self._parse_from is not None and self._number >= self._parse_from
                values, problem = parse_row(self._number, stripped, stripped, what="item") if wanted else (None, None)
                yield Row(self._number, values, problem, offset, len(stripped))
        self._begin, self._length_before, self._head = self._at, 0, b""

    def _more(self) -> bool:
        """Read the next chunk and drop bytes that are no longer needed; False at the end of the file."""
        pending = len(self._buffer) - self._begin
        if pending > MAX_ROW_BYTES:
            self._head = self._head or bytes(self._buffer[self._begin : self._begin + _PREFIX_BYTES])
            # A backslash at the end stays in the buffer: the character it escapes has not been read yet.
            self._length_before += self._at - self._begin
            self._drop(self._at)
        elif self._begin >= _CHUNK_BYTES:
            self._drop(self._begin)
        chunk = self._file.read(_CHUNK_BYTES)
        self._buffer += chunk
        return bool(chunk)

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._dropped += count
        self._at -= count
        self._begin = 0

    def _after(self) -> Iterator[Row]:
        """A problem row for content after the end of the array."""
        rest = bytes(self._buffer[self._at :]).strip(_WHITESPACE)
        while not rest and (chunk := self._file.read(_CHUNK_BYTES)):
            rest = chunk.strip(_WHITESPACE)
        if rest:
            what = "follows the end of the array and is ignored"
            yield Row(
                self._number + 1, None, RowProblem(self._number + 1, None, what, None, raw_text(rest[:_PREFIX_BYTES]))
            )

    def _unclosed(self) -> Iterator[Row]:
        rest = bytes(self._buffer[self._begin :])
        what = "is unterminated: the file ends inside the array"
        number = self._number + 1
        hint = "copy or download it again"
        yield Row(number, None, RowProblem(number, None, what, hint, raw_text(rest[:_PREFIX_BYTES])))
