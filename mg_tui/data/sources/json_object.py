"""A file that is one JSON object: which fields it has, and where each value is, without building any of them."""

import io
import json
import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import DataError
from mg_tui.data.jsonl import READ_ERRORS, unreadable_error
from mg_tui.data.row_problems import safe_line
from mg_tui.data.sources.file_types import is_plain_text, open_text

Buffer = bytes | mmap.mmap

# Compressed and encoded text is read into memory: as much as the largest of the known files takes.
_MAX_BUFFERED_BYTES: Final = 512 * 2**20
_MAX_MEMBERS: Final = 20_000_000
_STRING: Final = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_NESTED: Final = re.compile(_STRING + rb"|[\[\]{}]", re.DOTALL)
_SCALAR: Final = re.compile(_STRING + rb"|[-+.\w]+", re.DOTALL)
_SPACE: Final = re.compile(rb"[\s\xef\xbb\xbf]*")
_KEY: Final = re.compile(rb"\s*(" + _STRING + rb")\s*:\s*", re.DOTALL)
_COMMA: Final = re.compile(rb"\s*([,}])")
_LIST_ITEM: Final = re.compile(rb"\[\s*(\S)")


@dataclass(frozen=True, slots=True)
class JsonMember:
    """A field of an object: its name, where its value is, and the value's first character."""

    name: str
    start: int
    end: int
    kind: str


@contextmanager
def open_buffer(path: Path, encoding: str | None = None) -> Iterator[Buffer]:
    """The text of a file as bytes of UTF-8: mapped where it is stored so, else read.

    Raises:
        DataError: it cannot be read, or is compressed and larger than 512 MiB.
    """
    try:
        if is_plain_text(path, encoding):
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                yield mapped
            return
        with open_text(path, encoding) as text:
            data = text.read(_MAX_BUFFERED_BYTES + 1)
    except (*READ_ERRORS, ValueError) as error:
        raise unreadable_error(path, error) from None
    if len(data) > _MAX_BUFFERED_BYTES:
        raise DataError("a compressed JSON object of over 512 MiB", where=safe_line(str(path)), hint="unpack it")
    yield data


def is_one_object(buffer: Buffer) -> bool:
    """Whether a text that begins with `{` is one object and nothing else."""
    start = _skip_space(buffer, 0)
    end = _end_of(buffer, start)
    return end is not None and _skip_space(buffer, end) == len(buffer)


def iterate_members(buffer: Buffer) -> Iterator[JsonMember]:
    """The fields of the object in order; those before the first fault where it is malformed."""
    at = _skip_space(buffer, 0) + 1
    for _number in range(_MAX_MEMBERS):
        key = _KEY.match(buffer, at)
        end = _end_of(buffer, key.end()) if key is not None else None
        if key is None or end is None:
            return
        yield JsonMember(_decode(key[1]), key.end(), end, chr(buffer[key.end()]))
        comma = _COMMA.match(buffer, end)
        if comma is None or comma[1] != b",":
            return
        at = comma.end()


def first_item(buffer: Buffer, member: JsonMember) -> Any:
    """The first item of a list, or None; lists of other things than objects have none."""
    match = _LIST_ITEM.match(buffer, member.start)
    if match is None or match[1] != b"{":
        return None
    start = match.end() - 1
    end = _end_of(buffer, start)
    return None if end is None else read_value(buffer, start, end)


def read_value(buffer: Buffer, start: int, end: int) -> Any:
    """A value; None where it is malformed or larger than a mebibyte, as a row's first item is not."""
    if end - start > 2**20:
        return None
    try:
        return json.loads(buffer[start:end])
    except (ValueError, RecursionError):
        return None


def list_stream(buffer: Buffer, member: JsonMember) -> io.BufferedReader:
    """The text of a list, to be read piece by piece."""
    return io.BufferedReader(_Slice(buffer, member.start, member.end), 2**18)


class _Slice(io.RawIOBase):
    def __init__(self, buffer: Buffer, start: int, end: int):
        self._buffer = buffer
        self._at, self._end = start, end

    def readable(self) -> bool:
        return True

    def readinto(self, into) -> int:  # type: ignore[no-untyped-def]
        count = min(len(into), self._end - self._at)
        into[:count] = self._buffer[self._at : self._at + count]
        self._at += count
        return count


def _skip_space(buffer: Buffer, at: int) -> int:
    match = _SPACE.match(buffer, at)
    return match.end() if match is not None else at


def _end_of(buffer: Buffer, start: int) -> int | None:
    """The end of the value that starts at `start`; None where it does not end."""
    if buffer[start : start + 1] not in (b"{", b"["):
        scalar = _SCALAR.match(buffer, start)
        return scalar.end() if scalar is not None else None
    depth = 0
    for token in _NESTED.finditer(buffer, start):
        character = token[0]
        if character in (b"{", b"["):
            depth += 1
        elif character in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                return token.end()
    return None


def _decode(quoted: bytes) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:
        return quoted.decode("utf-8", "replace")
