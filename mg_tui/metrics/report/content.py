"""What stands in a report: everything as texts and numbers, nothing of HTML."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final

from mg_tui.metrics.contract import MIN_ROWS
from mg_tui.metrics.registry import MetricRegistry
from mg_tui.metrics.report.cards import Card, as_number, as_text, make_card, select_rows
from mg_tui.metrics.report.thumbnails import Thumbnails
from mg_tui.metrics.results.reading import Results, compare_results
from mg_tui.metrics.uncertainty import Comparison

_MAX_LABELS: Final = 16
_MAX_GROUPS: Final = 12
_MAX_FIELDS: Final = 20
_DIGEST_CHARACTERS: Final = 16  # of a checksum; enough to tell two datasets apart


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a report holds: rows of each list (worst, fixed, broken), and bytes of images in all."""

    rows: int = 100
    image_bytes: int = 6_000_000


@dataclass(frozen=True, slots=True)
class Bar:
    """A score and its interval on a scale from 0 to 100."""

    score: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class MetricLine:
    """A line of the table of metrics; texts are ready to be shown."""

    title: str
    label: str
    score: str
    interval: str
    bar: Bar | None
    note: str
    before: str = ""
    change: str = ""
    verdict: str = ""
    fixed: str = ""
    broken: str = ""


@dataclass(frozen=True, slots=True)
class GroupLine:
    """A line of a table of groups or fields."""

    value: str
    rows: int
    score: str
    interval: str
    bar: Bar | None
    small: bool = False


@dataclass(frozen=True, slots=True)
class Confusion:
    """A confusion matrix: for each label of the references how often each label was answered, and how dark that is."""

    labels: list[str]
    answers: list[str]
    cells: list[list[tuple[int, int]]]  # count, and shade from 0 to 8


@dataclass(frozen=True, slots=True)
class Content:
    """A report."""

    title: str
    headline: str
    facts: list[tuple[str, str]]
    notes: list[str]
    metrics: list[MetricLine]
    groups: list[tuple[str, str, list[GroupLine]]]  # column, metric, lines
    fields: list[GroupLine]
    confusion: Confusion | None
    cards: list[Card]
    counts: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    compared: bool = False
    sorted_by: str = ""


def build(results: Results, before: Results | None, registry: MetricRegistry, *, title: str, limits: Limits) -> Content:
    """The content of a report of `results`, compared with `before` where it is given.

    Raises:
        UsageError: the two evaluations cannot be compared.
    """
    comparisons = compare_results(before, results, registry) if before is not None else []
    by_name = {comparison.name: comparison for comparison in comparisons}
    primary = results.summary["metrics"][0] if results.summary["metrics"] else None
    first = by_name.get(primary["name"]) if primary else None
    worst = results.worst_first(primary["name"]) if primary else list(range(len(results.rows)))
    chosen, counts, totals = select_rows(results, worst, first, limits.rows)
    thumbnails = Thumbnails(limits.image_bytes)
    return Content(
        title=as_text(title or results.spec.get("model", "Evaluation"), 120),
        headline=_headline(results, primary, first),
        facts=[(as_text(key, 60).replace("_", " "), as_text(value, 300)) for key, value in _facts(results, before)],
        notes=_notes(results, before),
        metrics=[_metric_line(metric, by_name.get(metric["name"])) for metric in results.summary["metrics"]],
        groups=[
            (as_text(column, 80), primary["title"], [_group_line(group, primary) for group in groups[:_MAX_GROUPS]])
            for column, groups in results.summary["groups"].items()
            if primary
        ],
        fields=_field_lines(results),
        confusion=_confusion(results),
        cards=[make_card(results, before, place, kinds, thumbnails) for place, kinds in chosen],
        counts=counts,
        totals=totals,
        compared=before is not None,
        sorted_by=primary["title"] if primary else "",
    )


def _facts(results: Results, before: Results | None) -> list[tuple[str, Any]]:
    facts: list[tuple[str, Any]] = []
    for key, value in results.spec.items():
        if value is None or value == "" or key == "rows":
            continue
        old = before.spec.get(key) if before is not None else value
        if key == "fingerprint" and isinstance(value, str):
            value, old = value[:_DIGEST_CHARACTERS], str(old)[:_DIGEST_CHARACTERS]
        if key == "dataset":
            old, value = _without_folders(old), _without_folders(value)
        facts.append((key, value if old in (value, None) else f"{as_text(old, 140)} → {as_text(value, 140)}"))
    return [*facts, ("rows", len(results.rows))]


def _without_folders(name: Any) -> Any:
    """The report is sent to others: of a path only its last part."""
    return PurePath(name).name if isinstance(name, str) and PurePath(name).is_absolute() else name


def _headline(results: Results, primary: Mapping[str, Any] | None, comparison: Comparison | None) -> str:
    if comparison is not None:
        return comparison.sentence
    if primary is None:
        return "No metric could be computed."
    interval = f"{as_number(primary['low'])} to {as_number(primary['high'])}"
    return f"{primary['title']}: {as_number(primary['score'])} ({interval}) over {len(results.rows)} rows."


def _notes(results: Results, before: Results | None) -> list[str]:
    summary = results.summary
    notes = [summary["metrics_reason"]] if summary["metrics_reason"] else []
    confidence = f"{summary['intervals']['confidence']:.0%}"
    independent, rows = summary["independent_rows"], summary["rows"]
    together = (
        f"; the {rows} rows are {independent} independent clusters, as rows that share an image are resampled together"
    )
    notes.append(f"{confidence} confidence intervals by bootstrap{together if independent < rows else ''}.")
    if independent < MIN_ROWS:
        notes.append(f"Under {MIN_ROWS} independent rows no difference is called significant.")
    for name, side in (("", summary), ("before: ", before.summary if before is not None else None)):
        if side and side["empty_answers"]:
            notes.append(f"{name}{side['empty_answers']} of {rows} answers are empty; they count as wrong.")
        if side and side["rows_with_errors"]:
            notes.append(f"{name}{side['rows_with_errors']} rows could not be answered; they count as empty answers.")
    notes += [
        f"The metric {failed['name']} of the plugin {failed['plugin']} failed: {failed['problem']}"
        for failed in summary["failed_metrics"]
    ]
    return [as_text(note, 400) for note in notes]


def _metric_line(metric: Mapping[str, Any], comparison: Comparison | None) -> MetricLine:
    line: dict[str, Any] = {
        "title": as_text(metric["title"], 80),
        "label": f"{metric['name']}@{metric['version']}",
        "score": as_number(metric["score"]),
        "interval": f"{as_number(metric['low'])} – {as_number(metric['high'])}",
        "bar": _bar(metric, metric),
        "note": "" if metric["higher_is_better"] else "less is better",
    }
    if comparison is not None:
        low, high = comparison.interval.low, comparison.interval.high
        line |= {
            "before": as_number(comparison.before),
            "change": f"{comparison.change:+.3f} ({low:+.3f} to {high:+.3f})",
            "verdict": comparison.verdict,
            "fixed": str(len(comparison.fixed)) if comparison.fixed or comparison.broken else "–",
            "broken": str(len(comparison.broken)) if comparison.fixed or comparison.broken else "–",
        }
    return MetricLine(**line)


def _group_line(group: Mapping[str, Any], metric: Mapping[str, Any]) -> GroupLine:
    interval = f"{as_number(group['low'])} – {as_number(group['high'])}"
    bar = _bar(group, metric)
    return GroupLine(
        as_text(group["value"], 80), group["rows"], as_number(group["score"]), interval, bar, group["small"]
    )


def _field_lines(results: Results) -> list[GroupLine]:
    for metric in results.summary["metrics"]:
        fields = metric["details"].get("fields") if metric["name"] == "json_fields" else None
        if fields:
            return [
                GroupLine(
                    as_text(path, 80),
                    field["rows"],
                    as_number(field["accuracy"]),
                    "",
                    Bar(100 * field["accuracy"], 100 * field["accuracy"], 100 * field["accuracy"]),
                )
                for path, field in list(fields.items())[:_MAX_FIELDS]
            ]
    return []


def _confusion(results: Results) -> Confusion | None:
    for metric in results.summary["metrics"]:
        table = metric["details"].get("confusion")
        if metric["name"] == "accuracy" and table and len(table) <= _MAX_LABELS:
            labels = [as_text(label, 24) for label in metric["details"]["labels"]]
            cells = [[(count, round(8 * count / max(sum(row), 1))) for count in row] for row in table]
            return Confusion(labels[:-1], labels, cells)
    return None


def _bar(entry: Mapping[str, Any], metric: Mapping[str, Any]) -> Bar | None:
    """Scores of 0 to 1 and of BLEU and chrF have a scale; errors have none."""
    scale = 100.0 if metric["name"] in ("bleu", "chrf") else 1.0
    if not metric["higher_is_better"] or not 0 <= entry["low"] <= entry["high"] <= scale * 1.0001:
        return None
    return Bar(*(round(100 * entry[name] / scale, 2) for name in ("score", "low", "high")))
