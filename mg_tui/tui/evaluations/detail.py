"""One evaluation as its screen shows it: what its files have by now."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mg_tui.core.errors import GardenError
from mg_tui.runs.view import RunWarning
from mg_tui.tui.evaluations.listing import EvaluationItem

if TYPE_CHECKING:
    from mg_tui.metrics.contract import Metric
    from mg_tui.metrics.results.index import RowIndex


@dataclass(frozen=True, slots=True)
class EvaluationDetail:
    """Everything that the screen of one evaluation shows. Texts of files are as they were written: not safe to print.

    Attributes:
        item: state and progress.
        rows: the answers of the model.
        count: how many of `rows` there were when this was made.
        before: the answers of the model it is compared with; None without one.
        before_count: how many of those there were.
        reading: whether more rows are being read.
        summary, before_summary: scores; None while there are none.
        comparison: what changed by metric.
        metrics: metrics by name, as far as they are installed in the version that scored.
        speed: measured speed.
        problem: why something cannot be shown, or why the evaluation failed.
        warnings: newest last.
    """

    item: EvaluationItem
    rows: "RowIndex"
    count: int
    before: "RowIndex | None" = None
    before_count: int = 0
    reading: bool = False
    summary: Mapping[str, Any] | None = None
    before_summary: Mapping[str, Any] | None = None
    comparison: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metrics: "Mapping[str, Metric]" = field(default_factory=dict)
    speed: Mapping[str, Any] | None = None
    problem: GardenError | None = None
    warnings: tuple[RunWarning, ...] = ()

    @property
    def metric_names(self) -> list[str]:
        """Metrics that were computed, the first one first; empty while there are no scores."""
        return [one["name"] for one in self.summary["metrics"]] if self.summary is not None else []

    def higher_is_better(self, metric: str) -> bool:
        """Whether a larger score of a metric is better."""
        better = {one["name"]: one["higher_is_better"] for one in (self.summary or {}).get("metrics", ())}
        return bool(better.get(metric, True))

    def numbers(self, metric: str, kind: str) -> tuple[int, ...]:
        """Numbers of the rows that a comparison lists as `kind`: fixed, broken, improved or worsened."""
        found = self.comparison.get(metric, {}).get(kind, ())
        return tuple(number for number in found if isinstance(number, int))

    def judges_rows(self, metric: str) -> bool:
        """Whether a metric says which rows are correct."""
        return metric in self.metrics and self.metrics[metric].correct_at is not None
