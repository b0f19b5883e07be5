"""Rows that are none, and fields and pictures that cannot be used."""

from collections.abc import Iterator

from mg_tui.data.checks.judged import Judged
from mg_tui.data.findings import Finding
from mg_tui.data.images import ImageError
from mg_tui.data.problems import shown


class FieldCheck:
    """Turns what reading and looking said into findings."""

    def row(self, judged: Judged) -> Iterator[Finding]:
        """See `Check`."""
        for problem in judged.problems:
            yield Finding(judged.row, "field" if judged.readable else "row", problem.field, problem.what, problem.hint)
        for given, outcome in judged.pictures:
            if isinstance(outcome, ImageError):
                what = f"{shown(given)} {outcome.reason}"
                yield Finding(judged.row, f"image-{outcome.kind}", judged.image_field, what, outcome.hint)

    def end(self) -> Iterator[Finding]:
        """See `Check`."""
        return iter(())
