"""Findings of a check of a dataset, by row and by kind; `mg_tui.data.checks.kinds` describes the kinds.

Memory is bounded: the first `MAX_FINDINGS_PER_KIND` findings of each kind are stored in full; of all others only row
and kind, so that rows can be filtered by kind however many there are.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mg_tui.data.checks.kinds import KINDS, Severity

__all__ = [
    "KINDS",
    "MAX_FINDINGS_PER_KIND",
    "WHOLE_DATASET",
    "CheckReport",
    "Finding",
    "FindingCollector",
    "Histogram",
    "LengthSuggestion",
    "Severity",
]

MAX_FINDINGS_PER_KIND: Final = 500
# Row number of findings about the dataset as a whole; rows are numbered from 1.
WHOLE_DATASET: Final = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding in one row; row 0 stands for the whole dataset. `what` and `hint` are safe to print."""

    row: int
    kind: str
    field: str | None
    what: str
    hint: str | None = None

    @property
    def severity(self) -> Severity:
        """See `KINDS`."""
        return KINDS[self.kind].severity

    def __str__(self) -> str:
        where = f"row {self.row:,}" if self.row else "dataset"
        return f"{where}: {self.field + ': ' if self.field else ''}{self.what}"

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "row": self.row or None,
            "kind": self.kind,
            "severity": self.severity,
            "field": self.field,
            "what": self.what,
            "hint": self.hint,
        }


class Histogram:
    """Counts of integer values."""

    def __init__(self, counts: Mapping[int, int] | None = None):
        self.counts: Counter[int] = Counter(counts or {})

    def add(self, value: int) -> None:
        """Count a value."""
        self.counts[value] += 1

    @property
    def total(self) -> int:
        """The number of counted values."""
        return sum(self.counts.values())

    @property
    def largest(self) -> int:
        """The largest value; 0 when there is none."""
        return max(self.counts, default=0)

    def percentile(self, share: float) -> int:
        """The smallest value that at least `share` (0 to 1) of all values do not exceed; 0 when there is none."""
        target, passed = share * self.total, 0
        for value, count in sorted(self.counts.items()):
            passed += count
            if passed >= target:
                return value
        return 0

    def bins(self, edges: Sequence[int]) -> list[int]:
        """Counts of the intervals [previous edge, edge), and last of the values at or above the last edge."""
        from bisect import bisect_right

        bins = [0] * (len(edges) + 1)
        for value, count in self.counts.items():
            bins[bisect_right(edges, value)] += count
        return bins

    def as_dict(self) -> dict[str, int]:
        """Percentiles, for `--json`."""
        shares = {"p10": 0.1, "p50": 0.5, "p90": 0.9, "p99": 0.99}
        return {"count": self.total, **{k: self.percentile(v) for k, v in shares.items()}, "largest": self.largest}


@dataclass(frozen=True, slots=True)
class LengthSuggestion:
    """A way to bring rows that are too long under the maximum length: what to change, and how many rows it saves."""

    change: str
    flags: str
    rows_saved: int


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The result of a check.

    Attributes:
        dataset: the dataset's name as the user wrote it.
        rows: checked rows; `good_rows` of them can be trained on.
        images: distinct images; `image_uses` counts repeated uses too.
        findings: the first `MAX_FINDINGS_PER_KIND` of each kind, errors first, by row.
        counts: number of findings by kind.
        rows_by_kind: for each kind the numbers of its rows, ascending, each once.
        total_tokens: tokens per row, images included; None when they were not counted.
        image_tokens, supervised_tokens: tokens of images, and supervised tokens, per row; None likewise.
        pixels: pixels per distinct image.
        answer_characters: characters per answer.
        formats: distinct images by format.
        image_locations: uses of images by where the image was found.
        suggestions: for rows that are too long.
        complete: False when the check was stopped early.
        seconds: duration of the check.
        path: the dataset's file or folder; None for a Hub dataset.
    """

    dataset: str
    rows: int
    good_rows: int
    images: int
    image_uses: int
    findings: tuple[Finding, ...]
    counts: Mapping[str, int]
    rows_by_kind: Mapping[str, Sequence[int]] = field(repr=False)
    total_tokens: Histogram | None = None
    image_tokens: Histogram | None = None
    supervised_tokens: Histogram | None = None
    pixels: Histogram = field(default_factory=Histogram)
    answer_characters: Histogram = field(default_factory=Histogram)
    formats: Mapping[str, int] = field(default_factory=dict)
    image_locations: Mapping[str, int] = field(default_factory=dict)
    suggestions: tuple[LengthSuggestion, ...] = ()
    complete: bool = True
    seconds: float = 0.0
    path: Path | None = None

    @property
    def blocks_run(self) -> bool:
        """Whether a run that does not skip bad rows would be refused: an error, or no row to train on."""
        return self.good_rows == 0 or any(KINDS[kind].severity == "error" for kind in self.counts)

    def findings_of_row(self, number: int) -> list[Finding]:
        """Findings in a row; those beyond the stored ones have the kind's title as their text."""
        listed = [finding for finding in self.findings if finding.row == number]
        return [*listed, *self.unlisted_findings(number, {finding.kind for finding in listed})]

    def unlisted_findings(self, number: int, listed_kinds: Set[str]) -> list[Finding]:
        """Findings in a row of kinds other than `listed_kinds`, with the kind's title as their text."""
        kinds = (
            kind
            for kind, rows in self.rows_by_kind.items()
            if kind not in listed_kinds and _contains_sorted(rows, number)
        )
        return [Finding(number, kind, None, KINDS[kind].title) for kind in kinds]

    def bad_rows(self) -> list[int]:
        """Numbers of the rows that cannot be trained on, ascending."""
        bad: set[int] = set()
        for kind, rows in self.rows_by_kind.items():
            if KINDS[kind].severity == "error":
                bad.update(row for row in rows if row != WHOLE_DATASET)
        return sorted(bad)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""

        def tally(histogram: Histogram | None) -> dict[str, int] | None:
            return histogram.as_dict() if histogram is not None else None

        return {
            "dataset": self.dataset,
            "stops": self.blocks_run,
            "complete": self.complete,
            "rows": self.rows,
            "good_rows": self.good_rows,
            "images": self.images,
            "image_uses": self.image_uses,
            "counts": dict(self.counts),
            "tokens": tally(self.total_tokens),
            "image_tokens": tally(self.image_tokens),
            "learned_tokens": tally(self.supervised_tokens),
            "pixels": tally(self.pixels),
            "answer_characters": tally(self.answer_characters),
            "formats": dict(self.formats),
            "places": dict(self.image_locations),
            "remedies": [{"change": r.change, "flags": r.flags, "saves": r.rows_saved} for r in self.suggestions],
            "findings": [finding.as_dict() for finding in self.findings],
            "seconds": round(self.seconds, 3),
        }


def _contains_sorted(rows: Sequence[int], number: int) -> bool:
    from bisect import bisect_left

    index = bisect_left(rows, number)
    return index < len(rows) and rows[index] == number


class FindingCollector:
    """Collects findings in bounded memory."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._findings: dict[str, list[Finding]] = {}
        self._rows: dict[str, array[int]] = {}

    def add(self, findings: Iterable[Finding]) -> bool:
        """Store findings; returns whether an error was among them."""
        bad = False
        for finding in findings:
            self.counts[finding.kind] += 1
            listed = self._findings.setdefault(finding.kind, [])
            if len(listed) < MAX_FINDINGS_PER_KIND:
                listed.append(finding)
            rows = self._rows.setdefault(finding.kind, array("Q"))
            if not rows or rows[-1] != finding.row:
                rows.append(finding.row)
            bad = bad or finding.severity == "error"
        return bad

    @property
    def findings(self) -> tuple[Finding, ...]:
        """See `CheckReport.findings`."""
        order: dict[str, int] = {"error": 0, "warning": 1, "note": 2}
        listed = [finding for findings in self._findings.values() for finding in findings]
        return tuple(sorted(listed, key=lambda finding: (order[finding.severity], finding.row)))

    @property
    def rows_by_kind(self) -> dict[str, Sequence[int]]:
        """See `CheckReport.rows_by_kind`."""
        return {kind: array("Q", sorted(set(rows))) for kind, rows in self._rows.items()}
