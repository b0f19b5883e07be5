"""What every check of a dataset implements."""

from collections.abc import Iterator
from typing import Protocol

from mg_tui.data.checks.findings import Finding
from mg_tui.data.row_loader import LoadedRow


class Check(Protocol):
    """A check that is given rows one after another."""

    def check_row(self, row: LoadedRow) -> Iterator[Finding]:
        """Findings in one row."""
        ...

    def finish(self) -> Iterator[Finding]:
        """Findings that depend on all rows; called after the last."""
        ...
