"""JSON Lines as a source."""

from collections.abc import Iterator
from functools import cached_property
from itertools import dropwhile
from pathlib import Path

from mg_tui.data.jsonl import read_raw, read_rows
from mg_tui.data.rows import Row
from mg_tui.data.sources.base import Recognised


class JsonLines:
    """A file with one JSON object a line."""

    format = "jsonl"

    def __init__(self, name: str, path: Path):
        self.name = name
        self.path: Path | None = path
        self.base = path.parent
        self._file = path

    @cached_property
    def recognised(self) -> Recognised:
        """See `Source`."""
        return Recognised(self.format, "fields", "likely", "the file has one JSON object a line")

    def rows(self, start: int = 1) -> Iterator[Row]:
        """See `Source`; a row's number is its line's, and blank lines are no rows."""
        return dropwhile(lambda row: row.number < start, read_rows(self._file))

    def count(self) -> int | None:
        """See `Source`."""
        return None

    def raw(self, row: Row) -> str:
        """See `Source`."""
        return read_raw(self._file, row.offset, row.length)
