"""The scores of an evaluation with their intervals, what changed, its speed; and its groups, the worst first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.tui import formatting
from mg_tui.tui.evaluations.detail import EvaluationDetail
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.evaluations.head import change_text
from mg_tui.tui.widgets.lines import Lines, hanging_indent, line
from mg_tui.tui.widgets.table import Column, Table


class ScoreList(Lines):
    """Every metric; below, counts, warnings and speed."""

    DEFAULT_CSS = """
    ScoreList { padding: 1 1; }
    """
    detail: reactive[EvaluationDetail | None] = reactive(None, repaint=False)

    def watch_detail(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        return score_lines(self.detail, width) if self.detail is not None else [Content()]


def score_lines(detail: EvaluationDetail, width: int) -> list[Content]:
    """The lines of the pane."""
    if detail.summary is None:
        text = "Scores are computed when every row is answered."
        return [Content.styled(text, tone("dim")), *_warning_lines(detail, width)]
    lines: list[Content] = []
    titles = [one_line(one["title"], limit=60) for one in detail.summary["metrics"]]
    indent = min(max(map(len, titles), default=0) + 2, max(width // 2, 12))
    for metric, title in zip(detail.summary["metrics"], titles, strict=True):
        lines += hanging_indent(Content.styled(title, "bold"), _score(metric), indent, width)
        if (change := detail.comparison.get(metric["name"])) is not None:
            lines += hanging_indent(Content(), _change(detail, metric["name"], change), indent, width)
    lines += _count_lines(detail.summary, width)
    return [*lines, *_warning_lines(detail, width), *_speed_lines(detail.speed)]


def _score(metric: Mapping[str, Any]) -> Content:
    interval = f"  {metric['low']:.3f} to {metric['high']:.3f}"
    better = "" if metric["higher_is_better"] else "  less is better"
    return line((f"{metric['score']:.3f}", tone("key", "bold")), (interval + better, tone("dim")))


def _change(detail: EvaluationDetail, name: str, change: Mapping[str, Any]) -> Content:
    low, high = change["interval"]["low"], change["interval"]["high"]
    parts = [
        line((f"before {change['before']:.3f}  ", tone("dim")), change_text(change)),
        Content.styled(f"  {low:+.3f} to {high:+.3f}", tone("dim")),
    ]
    kinds = ("fixed", "broken") if detail.judges_rows(name) else ("improved", "worsened")
    counts = "  ".join(f"{len(detail.numbers(name, kind))} {kind}" for kind in kinds)
    return line(*parts, f"  {counts}")


def _count_lines(summary: Mapping[str, Any], width: int) -> list[Content]:
    notes = [
        f"{summary['rows']} rows, {summary.get('independent_rows', formatting.DASH)} independent by image; 95 % "
        "intervals by bootstrap.",
        one_line(str(summary.get("metrics_reason") or ""), limit=400),
    ]
    if empty := summary.get("empty_answers"):
        notes.append(f"{formatting.count(empty, 'empty answer')}, counted as wrong.")
    if errors := summary.get("rows_with_errors"):
        notes.append(f"{formatting.count(errors, 'row')} could not be answered, counted as wrong.")
    lines = [Content()]
    for note in filter(None, notes):
        lines += Content.styled(note, tone("dim")).wrap(max(width, 8))
    for failed in summary.get("failed_metrics") or ():
        text = one_line(f"metric {failed.get('name')} failed: {failed.get('problem')}", limit=400)
        lines += Content.styled(text, tone("failed")).wrap(max(width, 8))
    return lines


def _warning_lines(detail: EvaluationDetail, width: int) -> list[Content]:
    lines: list[Content] = [Content()] if detail.warnings else []
    for warning in detail.warnings[-8:]:
        text = one_line(warning.what + (f": {warning.why}" if warning.why else ""), limit=400)
        lines += hanging_indent(Content.styled("⚠", tone("eval", "bold")), Content(text), 2, width)
    return lines


def _speed_lines(speed: Mapping[str, Any] | None) -> list[Content]:
    found = speed.get("speed") if speed is not None else None
    if not isinstance(found, list) or not found:
        return []
    lines = [
        Content(),
        Content.styled("speed    first token   whole answer   tokens/s   images/s    peak", tone("dim")),
    ]
    for one in found:
        try:
            lines.append(
                Content(
                    f"batch {one['batch']:<3}{one['first_token_median']:>9.3f} s {one['whole_median']:>12.3f} s"
                    f"{one['tokens_per_second']:>11.1f}{one['images_per_second']:>11.2f}"
                    f"{formatting.size(one['peak_memory']):>12}"
                )
            )
        except (KeyError, TypeError, ValueError):
            return [*lines[:1], Content.styled("speed.json cannot be read", tone("failed"))]
    return lines


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group of rows: a value of a column. `before`: the score of the model that it is compared with."""

    column: str
    value: str
    rows: int
    score: float
    low: float
    high: float
    small: bool = False
    before: float | None = None


def group_rows(detail: EvaluationDetail) -> list[GroupRow]:
    """Groups by column, each column's worst first."""
    if detail.summary is None:
        return []
    old = (detail.before_summary or {}).get("groups", {})
    rows = []
    for column, groups in detail.summary["groups"].items():
        before = {one["value"]: one["score"] for one in old.get(column, ())}
        for one in groups:
            small, was = bool(one.get("small")), before.get(one["value"])
            rows.append(GroupRow(column, one["value"], one["rows"], one["score"], one["low"], one["high"], small, was))
    return rows


class GroupTable(Table[GroupRow]):
    """The groups."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("column", "Column", 10, grow=1, max_width=24, drop_rank=3),
        Column("value", "Group", 26, grow=3, max_width=70),
        Column("rows", "Rows", 5, align_right=True),
        Column("score", "Score", 6, align_right=True),
        Column("interval", "95 % interval", 14, drop_rank=1),
        Column("before", "Before", 6, drop_rank=2, align_right=True),
        Column("note", "", 8, drop_rank=4),
    )

    def key_of(self, row: GroupRow) -> str:
        return f"{row.column}\n{row.value}"

    def cell_of(self, row: GroupRow, key: str, width: int) -> Content:
        match key:
            case "column":
                return Content.styled(one_line(row.column, limit=200), tone("dim"))
            case "value":
                return Content(one_line(row.value, limit=200))
            case "rows":
                return Content.styled(str(row.rows), tone("dim"))
            case "score":
                return Content.styled(f"{row.score:.3f}", "bold")
            case "interval":
                return Content.styled(f"{row.low:.3f} to {row.high:.3f}", tone("dim"))
            case "before":
                return Content.styled(f"{row.before:.3f}" if row.before is not None else "", tone("dim"))
            case _:
                return Content.styled("few rows" if row.small else "", tone("eval"))
