"""Lines that are not rows, and fields and images that cannot be used."""

from collections.abc import Iterator

from mg_tui.data.checks.findings import Finding
from mg_tui.data.row_loader import LoadedRow
from mg_tui.data.row_problems import quote_text


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
