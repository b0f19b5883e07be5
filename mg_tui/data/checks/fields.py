"""Rows that are none, and fields and images that cannot be used."""

from collections.abc import Iterator

from mg_tui.data.checks.base import LoadedRow
from mg_tui.data.checks.findings import Finding
from mg_tui.data.images import ImageError
from mg_tui.data.row_problems import quote_text


class FieldCheck:
    """Turns what reading and looking said into findings."""

    def check_row(self, judged: LoadedRow) -> Iterator[Finding]:
        """See `Check`."""
        for problem in judged.problems:
            yield Finding(judged.number, "field" if judged.is_row else "row", problem.field, problem.what, problem.hint)
        for given, outcome in judged.images:
            if isinstance(outcome, ImageError):
                what = f"{quote_text(given)} {outcome.reason}"
                yield Finding(judged.number, f"image-{outcome.kind}", judged.image_field, what, outcome.hint)

    def finish(self) -> Iterator[Finding]:
        """See `Check`."""
        return iter(())
