"""Lines that are not rows, fields and images that cannot be used, and columns and markers that are not read."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from mg_tui.data.checks.findings import WHOLE_DATASET, Finding
from mg_tui.data.row_loader import LoadedRow
from mg_tui.data.row_problems import quote_text, safe_line

# Distinct columns that are counted; rows of untrusted files may have any number of names.
_MAX_COLUMNS: Final = 1000


class FieldCheck:
    """Turns problems of reading a row and probing its images into findings."""

    def check_row(self, row: LoadedRow) -> Iterator[Finding]:
        """See `Check`."""
        for problem in row.problems:
            yield Finding(row.number, "field" if row.is_row else "row", problem.field, problem.what, problem.hint)
        for name, error in row.image_errors:
            what = f"{quote_text(name)} {error.reason}"
            yield Finding(row.number, f"image-{error.kind}", row.image_field, what, error.hint)

    def finish(self) -> Iterator[Finding]:
        """See `Check`."""
        return iter(())


class ColumnCheck:
    """Lists columns that are not read, and placeholders of other tools that are left as text."""

    def __init__(self) -> None:
        self._unused: Counter[str] = Counter()

    def check_row(self, row: LoadedRow) -> Iterator[Finding]:
        """See `Check`."""
        for name in row.unused_columns:
            if name in self._unused or len(self._unused) < _MAX_COLUMNS:
                self._unused[name] += 1
        for marker in row.text_markers:
            yield Finding(row.number, "marker-text", None, f"{marker} is left as text")

    def finish(self) -> Iterator[Finding]:
        """See `Check`."""
        for name, count in self._unused.items():
            what = f"is not used; {count:,} row{'s have' if count != 1 else ' has'} a value"
            yield Finding(WHOLE_DATASET, "column-unused", safe_line(name, limit=60), what)
