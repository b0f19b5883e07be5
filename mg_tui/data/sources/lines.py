"""JSON Lines as a source."""

from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path

from mg_tui.data.jsonl import read_raw, read_rows
from mg_tui.data.rows import Row
from mg_tui.data.sources.base import Source, Told


class JsonLines(Source):
    """A file with one JSON object a line, perhaps compressed."""

    def __init__(self, name: str, path: Path, told: Told):
        super().__init__(name, "jsonl", path, path.parent, told)
        self._file = path

    def rows(self, start: int = 1) -> Iterator[Row]:
        """See `Source`; a row's number is its line's, and blank lines are no rows."""
        return dropwhile(lambda row: row.number < start, read_rows(self._file))

    def raw(self, row: Row) -> str:
        """See `Source`; empty only if the file has become unreadable since it was read."""
        try:
            return read_raw(self._file, row.offset, row.length)
        except OSError:
            return ""
