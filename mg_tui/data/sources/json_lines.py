"""JSON Lines as a source."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import dropwhile
from pathlib import Path

from mg_tui.data.jsonl import read_raw, read_rows
from mg_tui.data.rows import Row
from mg_tui.data.sources.base import FormatEvidence, Source
from mg_tui.data.sources.file_types import is_plain_text, open_text


class TextFileSource(Source):
    """A text file, optionally compressed or in another encoding, whose rows have their byte offsets in its text."""

    def __init__(self, name: str, kind: str, path: Path, evidence: FormatEvidence, encoding: str | None = None):
        super().__init__(name, kind, path, path.parent, evidence)
        self._file = path
        self.encoding = encoding
        self.has_offsets = is_plain_text(path, encoding)

    def content_files(self) -> Sequence[Path]:
        """See `Source`."""
        return (self._file,)

    def raw(self, row: Row) -> str:
        """See `Source`."""
        if not self.has_offsets:
            return super().raw(row)
        try:
            return read_raw(self._file, row.offset, row.length)
        except OSError:  # removed since it was opened
            return super().raw(row)


class JsonLinesSource(TextFileSource):
    """A file with one JSON object a line."""

    def __init__(self, name: str, path: Path, evidence: FormatEvidence, encoding: str | None = None):
        super().__init__(name, "jsonl", path, evidence, encoding)

    def rows(self, start: int = 1) -> Iterator[Row]:
        """See `Source`; a row's number is its line's, and blank lines are no rows."""
        rows = read_rows(self._file, opener=None if self.has_offsets else partial(open_text, encoding=self.encoding))
        return dropwhile(lambda row: row.number < start, rows)
