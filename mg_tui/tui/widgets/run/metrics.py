"""The newest metrics of a run, with their curves where there is room; and the plots of the chart."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.tui import formatting
from mg_tui.tui.choice import Choice
from mg_tui.tui.runs.chart_view import ChartView
from mg_tui.tui.runs.snapshot import RunCurves, RunDetail
from mg_tui.tui.text_charts import exponential_mean, sparkline
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.chart import ChartLine, Plot
from mg_tui.tui.widgets.lines import Lines, cell, fit, join_fitting, line


@dataclass(frozen=True, slots=True)
class RunMetric:
    """A metric over the steps: its titles, its values in `RunCurves`, and how they are formatted."""

    title: str
    short_title: str
    select: Callable[[RunCurves], Sequence[float]]
    format_value: Callable[[float | None], str]
    from_zero: bool = True


def memory_curve(curves: RunCurves) -> Sequence[float]:
    """Memory of the device; of the host where there is no device."""
    return curves.device_memory if any(isfinite(value) for value in curves.device_memory) else curves.host_memory


METRICS: Final = (
    RunMetric("learning rate", "lr", lambda curves: curves.learning_rate, formatting.scientific),
    RunMetric("gradient norm", "grad", lambda curves: curves.grad_norm, formatting.loss),
    RunMetric("memory", "mem", memory_curve, formatting.size),
    RunMetric("tokens/s", "tok/s", lambda curves: curves.tokens_per_second, formatting.compact),
    RunMetric("images/s", "img/s", lambda curves: curves.images_per_second, formatting.compact),
    RunMetric("data wait", "wait", lambda curves: curves.data_wait, formatting.percent),
)


_FIELD_TITLES: Final = {
    "data_wait": "Data wait in s",
    "energy_j": "Energy in J",
    "gpu_seconds": "GPU time in s",
    "laid_out": "Tokens computed",
    "seconds": "Step time in s",
}
_MAIN_FIELDS: Final = frozenset({"step", "loss", "learning_rate", "grad_norm"})  # curves of their own


def run_curve_count(detail: RunDetail | None) -> int:
    """The curves of a run: the loss, the metrics of its steps, the scores of its answers."""
    return 1 + len(METRICS) + len(answer_scores(detail) if detail is not None else ())


def curve_titles(scores: Iterable[str]) -> list[str]:
    """The titles of the curves by their index; `scores`: the metrics by which answers are scored."""
    return [_heading(title) for title in ("loss", *(metric.title for metric in METRICS))] + [
        one_line(name) for name in scores
    ]


def curve_choices(titles: Sequence[str], fields: Iterable[str], view: ChartView) -> list[Choice]:
    """The curves with these titles and the fields of the step events, to choose one from."""
    main = [
        Choice(str(index), title, marked=view.field is None and index == view.curve_index)
        for index, title in enumerate(titles)
    ]
    return main + [
        Choice(name, field_title(name), f"{one_line(name)} of each step", marked=name == view.field)
        for name in sorted(set(fields) - _MAIN_FIELDS)
        if not name.isdigit()
    ]


def field_title(name: str) -> str:
    """The title of a field of the step events."""
    return _FIELD_TITLES.get(name) or _heading(one_line(name.replace("_", " ")))


def field_format(name: str) -> Callable[[float | None], str]:
    """How values of a field of the step events are written: bytes as sizes, counts and rates in three figures."""
    return formatting.size if "memory" in name or name.endswith("bytes") else _plain_number


def _plain_number(value: float | None) -> str:
    return formatting.compact(value) if value is None or abs(value) >= 1 or not value else f"{value:.3g}"


def _heading(title: str) -> str:
    return title[:1].upper() + title[1:]


def run_plots(detail: RunDetail, view: ChartView) -> list[Plot]:
    """The plot that `view` chose; with its grid, followed by those of the other curves."""
    views = view.in_order(run_curve_count(detail)) if view.grid else [view]
    return [run_plot(detail, one) for one in views]


def run_plot(detail: RunDetail, view: ChartView) -> Plot:
    """The plot of the loss (curve 0), of a metric, of the scores of answers by one, or of a field of the steps."""
    curves, last = detail.curves, float(detail.row.total or 0) or None
    window = view.window(curves.steps)
    if view.field is not None:
        points = finite_points(curves.steps, curves.fields.get(view.field, ()))
        lines = [ChartLine("each step", *points, "smooth")]
        write = field_format(view.field)
        return Plot(field_title(view.field), tuple(lines), last, write, True, view.logarithmic, window)
    if view.curve_index == 0:
        evals = [item for item in detail.evals if isfinite(item.loss)]
        lines = [
            ChartLine("each step", curves.steps, curves.loss, "raw", "dots"),
            *smoothed_lines(curves, view),
            ChartLine("eval", [item.step for item in evals], [item.loss for item in evals], "eval", "mark"),
        ]
        return Plot("Loss", tuple(lines), last, formatting.loss, logarithmic=view.logarithmic, step_window=window)
    if view.curve_index > len(METRICS):
        scores = list(answer_scores(detail).items())[view.curve_index - len(METRICS) - 1 :]
        if not scores:  # a replay before the first of them
            return Plot("Scores of answers", (), last)
        return _score_plot(detail, view, *scores[0])
    metric = METRICS[view.curve_index - 1]
    lines = [ChartLine("each step", curves.steps, metric.select(curves), "smooth")]
    if metric.title == "memory" and (estimate := estimated_memory(detail)) is not None and curves.steps:
        ends = (float(curves.steps[0]), max(float(curves.steps[-1]), last or 0.0))
        lines.append(ChartLine("estimate", ends, (estimate, estimate), "eval", "rule"))
    return Plot(
        _heading(metric.title), tuple(lines), last, metric.format_value, metric.from_zero, view.logarithmic, window
    )


def finite_points(steps: Sequence[int], values: Sequence[float]) -> tuple[list[int], list[float]]:
    """The steps that have a value, and their values: some fields are written every few steps only."""
    points = [(step, value) for step, value in zip(steps, values, strict=False) if isfinite(value)]
    return [step for step, _ in points], [value for _, value in points]


def _score_plot(detail: RunDetail, view: ChartView, name: str, scores: Sequence[float]) -> Plot:
    """The scores of answers by a metric, with a mark at each evaluation."""
    evaluated, scores = finite_points(scored_steps(detail), scores)
    lines = (
        ChartLine("", evaluated, scores, "eval"),
        ChartLine("eval", evaluated, scores, "eval", "mark"),
    )
    last = float(detail.row.total or 0) or None
    window = view.window(detail.curves.steps)
    return Plot(one_line(name), lines, last, formatting.loss, True, view.logarithmic, window)


def smoothed_lines(
    curves: RunCurves, view: ChartView, name: str = "smoothed", tone_name: str = "smooth"
) -> list[ChartLine]:
    """The loss smoothed as `view` says; nothing without smoothing."""
    if view.is_default_smoothing:
        return [ChartLine(name, curves.steps, curves.smoothed, tone_name)]
    window = view.smoothing_points(len(curves.steps))
    if not window:
        return []
    return [ChartLine(f"{name} over {window}", curves.steps, exponential_mean(curves.loss, window=window), tone_name)]


def estimated_memory(detail: RunDetail) -> float | None:
    """The estimated device memory of a run in bytes, if its plan has one."""
    value = detail.plan.get("estimate_bytes")
    return float(value) if isinstance(value, int | float) and value > 0 else None


def metric_column(detail: RunDetail, width: int) -> list[Content]:
    """A metric a line with its curve, then counts."""
    lines = []
    for metric in METRICS:
        values = metric.select(detail.curves)
        lines.append(
            line(
                (f"{metric.title:<14}", tone("dim")),
                cell(Content(metric.format_value(values[-1] if values else None)), 10, right=True),
                "  ",
                (sparkline(values, max(width - 27, 0)), tone("spark")),
            )
        )
    for name, values in answer_scores(detail).items():
        lines.append(
            line(
                cell(Content.styled(one_line(name), tone("dim")), 14),
                cell(Content(formatting.loss(values[-1])), 10, right=True),
                "  ",
                (sparkline(values, max(width - 27, 0)), tone("eval")),
            )
        )
    lines.append(Content())
    lines += [
        line((f"{label:<14}", tone("dim")), fit(Content(one_line(text)), width - 14))
        for label, text in _run_counts(detail)
        if text
    ]
    return lines


def metric_strip(detail: RunDetail, width: int) -> list[Content]:
    """Every metric in one line."""
    parts = []
    for metric in METRICS:
        values = metric.select(detail.curves)
        parts.append(line((f"{metric.short_title} ", tone("dim")), metric.format_value(values[-1] if values else None)))
    parts[:0] = [
        line((f"{one_line(name)} ", tone("eval")), formatting.loss(values[-1]))
        for name, values in answer_scores(detail).items()
    ]
    return [join_fitting(parts, width, "  ")]


def answer_scores(detail: RunDetail) -> dict[str, list[float]]:
    """The scores of answers at each of `scored_steps`, by metric; NaN where a metric was not scored."""
    names = dict.fromkeys(name for item in detail.evals for name in item.metrics)
    scored = [item.metrics for item in detail.evals if item.metrics]
    return {name: [scores.get(name, float("nan")) for scores in scored] for name in names}


def scored_steps(detail: RunDetail) -> list[int]:
    """The steps of the evaluations that scored answers."""
    return [item.step for item in detail.evals if item.metrics]


def _run_counts(detail: RunDetail) -> list[tuple[str, str]]:
    evals = [item for item in detail.evals if isfinite(item.loss)]
    best = min(evals, key=lambda item: item.loss, default=None)
    newest = max((saved.step for saved in detail.checkpoints), default=None)
    examples, estimate = detail.plan.get("examples"), estimated_memory(detail)
    return [
        ("best eval", "" if best is None else f"{formatting.loss(best.loss)} at step {best.step}"),
        ("checkpoints", "" if newest is None else f"{len(detail.checkpoints)}, newest at step {newest}"),
        ("used", detail.cost),
        *(("watch", text) for text in detail.watching),
        ("estimate", "" if estimate is None else f"{formatting.size(estimate)} of device memory"),
        ("warnings", str(detail.warning_count) if detail.warning_count else ""),
        ("examples", "" if examples is None else f"{examples:,}" if isinstance(examples, int) else str(examples)),
    ]


class MetricsPanel(Lines):
    """A column beside the chart on a wide screen, a strip below it on a narrow one."""

    DEFAULT_CSS = """
    MetricsPanel { padding: 0 1; height: 1; }
    """
    detail: reactive[RunDetail | None] = reactive(None, repaint=False)

    def watch_detail(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        if self.detail is None:
            return [Content()]
        return metric_column(self.detail, width) if self.size.height > 2 else metric_strip(self.detail, width)
