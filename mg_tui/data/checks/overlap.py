"""Rows and pictures of one dataset that are in another."""

from collections.abc import Iterator

from mg_tui.data.checks.judged import Judged, conversation_digest, digest
from mg_tui.data.findings import Finding
from mg_tui.data.problems import shown


class Contents:
    """Digests of a dataset's rows and pictures: what is compared with."""

    def __init__(self) -> None:
        self.rows: set[int] = set()
        self.images: set[int] = set()

    def take(self, judged: Judged) -> None:
        """Add a row."""
        if judged.example is not None:
            self.rows.add(conversation_digest(judged.example))
            self.images.update(digest(ref.path) for ref in judged.example.images)


class OverlapCheck:
    """Finds rows that the evaluation dataset has too, or whose pictures it shows."""

    def __init__(self, evaluation: Contents):
        self._evaluation = evaluation

    def row(self, judged: Judged) -> Iterator[Finding]:
        """See `Check`."""
        if judged.example is None:
            return
        hint = "leave it out of one of them: what was seen in training says little about anything else"
        if conversation_digest(judged.example) in self._evaluation.rows:
            yield Finding(judged.row, "eval-overlap", None, "the row is in the evaluation dataset too", hint)
            return
        for ref in judged.example.images:
            if digest(ref.path) in self._evaluation.images:
                what = f"its picture {shown(ref.given, limit=80)} is in the evaluation dataset too"
                yield Finding(judged.row, "eval-overlap", None, what, hint)
                return

    def end(self) -> Iterator[Finding]:
        """See `Check`."""
        return iter(())
