"""What a check of a dataset finds: by row, by kind, and counted; `mg_tui.data.checks.kinds` says what the kinds mean.

Findings are kept in bounded memory: the first `MAX_FINDINGS_PER_KIND` of each kind in full, and of every one its row and kind, so that
rows can be filtered by what was found however many there are.
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
# Rows are numbered from 1; this one is the dataset as a whole.
WHOLE_DATASET: Final = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found in one row; row 0 is the dataset as a whole. `what` and `hint` are safe to print."""

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
    """How often which whole number was counted."""

    def __init__(self, counts: Mapping[int, int] | None = None):
        self.counts: Counter[int] = Counter(counts or {})

    def add(self, value: int) -> None:
        """Count a number."""
        self.counts[value] += 1

    @property
    def total(self) -> int:
        """How many numbers were counted."""
        return sum(self.counts.values())

    @property
    def largest(self) -> int:
        """The largest number, 0 when there is none."""
        return max(self.counts, default=0)

    def percentile(self, share: float) -> int:
        """The smallest counted number that at least `share` (0 to 1) of all do not exceed; 0 when there is none."""
        wanted, passed = share * self.total, 0
        for value, count in sorted(self.counts.items()):
            passed += count
            if passed >= wanted:
                return value
        return 0

    def bins(self, edges: Sequence[int]) -> list[int]:
        """How many numbers lie below each edge and not below the one before it, and at last how many beyond all."""
        from bisect import bisect_right

        found = [0] * (len(edges) + 1)
        for value, count in self.counts.items():
            found[bisect_right(edges, value)] += count
        return found

    def as_dict(self) -> dict[str, int]:
        """Percentiles, for `--json`."""
        shares = {"p10": 0.1, "p50": 0.5, "p90": 0.9, "p99": 0.99}
        return {"count": self.total, **{k: self.percentile(v) for k, v in shares.items()}, "largest": self.largest}


@dataclass(frozen=True, slots=True)
class LengthSuggestion:
    """A way to bring over-long rows under the maximum length: what to change, and how many of them it saves."""

    change: str
    flags: str
    rows_saved: int


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found.

    Attributes:
        dataset: the dataset as it was given.
        rows: rows looked at; `good` of them can be trained on.
        images: distinct images; `image_uses` counts how often rows show one.
        findings: the first `MAX_FINDINGS_PER_KIND` of each kind, errors first, by row.
        counts: how many there are of each kind.
        rows_of: for each kind the numbers of its rows, ascending, each once.
        tokens: tokens of a row, those of its images included; None when they were not counted.
        image_tokens, learned: tokens of images, and tokens trained on, of a row; None likewise.
        pixels: pixels of a distinct image. answers: characters of an answer.
        formats: distinct images by format.
        places: uses of images by where they were found.
        remedies: for over-long rows.
        complete: False when the check was stopped early.
        seconds: how long it took.
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
        """Whether something would stop a run that does not leave bad rows out: an error, or no row to learn from."""
        return self.good_rows == 0 or any(KINDS[kind].severity == "error" for kind in self.counts)

    def findings_of_row(self, number: int) -> list[Finding]:
        """What was found in a row; beyond the findings kept in full, the kind alone tells."""
        kept = [finding for finding in self.findings if finding.row == number]
        return [*kept, *self.unlisted_findings(number, {finding.kind for finding in kept})]

    def unlisted_findings(self, number: int, told: Set[str]) -> list[Finding]:
        """Findings in a row that are of other kinds than those `told`, by their kind alone."""
        kinds = (
            kind for kind, rows in self.rows_by_kind.items() if kind not in told and _contains_sorted(rows, number)
        )
        return [Finding(number, kind, None, KINDS[kind].title) for kind in kinds]

    def bad_rows(self) -> list[int]:
        """Numbers of the rows that cannot be trained on, ascending."""
        found: set[int] = set()
        for kind, rows in self.rows_by_kind.items():
            if KINDS[kind].severity == "error":
                found.update(row for row in rows if row != WHOLE_DATASET)
        return sorted(found)

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

    at = bisect_left(rows, number)
    return at < len(rows) and rows[at] == number


class FindingCollector:
    """Takes findings as they come."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._kept: dict[str, list[Finding]] = {}
        self._rows: dict[str, array[int]] = {}

    def add(self, findings: Iterable[Finding]) -> bool:
        """Keep them; whether an error was among them."""
        bad = False
        for finding in findings:
            self.counts[finding.kind] += 1
            kept = self._kept.setdefault(finding.kind, [])
            if len(kept) < MAX_FINDINGS_PER_KIND:
                kept.append(finding)
            rows = self._rows.setdefault(finding.kind, array("Q"))
            if not rows or rows[-1] != finding.row:
                rows.append(finding.row)
            bad = bad or finding.severity == "error"
        return bad

    @property
    def findings(self) -> tuple[Finding, ...]:
        """See `Report.findings`."""
        order: dict[str, int] = {"error": 0, "warning": 1, "note": 2}
        listed = [finding for kept in self._kept.values() for finding in kept]
        return tuple(sorted(listed, key=lambda finding: (order[finding.severity], finding.row)))

    @property
    def rows_by_kind(self) -> dict[str, Sequence[int]]:
        """See `Report.rows_of`."""
        return {kind: array("Q", sorted(set(rows))) for kind, rows in self._rows.items()}
