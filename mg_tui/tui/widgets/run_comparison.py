"""A comparison of runs: their curves on one chart, and a table of results and differing options."""

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, Final

from textual.content import Content

from mg_tui.core.text import one_line
from mg_tui.tui import formatting
from mg_tui.tui.runs.chart_view import ChartView
from mg_tui.tui.runs.snapshot import RunDetail
from mg_tui.tui.text_charts import finite
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.chart import CURVE_DASHES, CURVE_GLYPHS, ChartLine, Plot
from mg_tui.tui.widgets.lines import Lines, cell, line
from mg_tui.tui.widgets.run.metrics import (
    METRICS,
    answer_scores,
    curve_titles,
    field_format,
    field_title,
    memory_curve,
    scored_steps,
    smoothed_lines,
)
from mg_tui.tui.widgets.runs.run_table import state_text

MAX_RUNS: Final = len(CURVE_GLYPHS)
_EVALUATION_LOSS: Final = "Loss of evaluations"
_OMITTED_OPTIONS: Final = frozenset({"name"})  # shown in the heading


def comparison_curve_count(details: Sequence[RunDetail]) -> int:
    """The loss, the metrics of steps, the loss of evaluations, and the scores of answers that any run has."""
    return len(METRICS) + 2 + len(scored_metrics(details))


def scored_metrics(details: Sequence[RunDetail]) -> list[str]:
    """The metrics by which any of the runs scored answers."""
    return list(dict.fromkeys(name for detail in details for name in answer_scores(detail)))


def comparison_fields(details: Sequence[RunDetail]) -> set[str]:
    """The fields of step events that any of the runs has."""
    return {name for detail in details for name in detail.curves.fields}


def comparison_plots(details: Sequence[RunDetail], view: ChartView) -> list[Plot]:
    """The plot that `view` chose; with its grid, followed by those of the other curves."""
    views = view.in_order(comparison_curve_count(details)) if view.grid else [view]
    return [comparison_plot(details, one) for one in views]


def comparison_titles(details: Sequence[RunDetail]) -> list[str]:
    """The titles of the curves by their index."""
    titles = curve_titles(scored_metrics(details))
    titles.insert(len(METRICS) + 1, _EVALUATION_LOSS)
    return titles


def comparison_plot(details: Sequence[RunDetail], view: ChartView) -> Plot:
    """A curve of every run as the chart draws it."""
    steps = [step for detail in details for step in (*detail.curves.steps[:1], *detail.curves.steps[-1:])]
    window = view.window(sorted(steps))
    write: Callable[[float | None], str] = formatting.loss
    values: list[Sequence[float]]
    if view.field is not None:
        title, write, zero = field_title(view.field), field_format(view.field), True
        values = [detail.curves.fields.get(view.field, ()) for detail in details]
    elif view.curve_index == 0:
        title, zero = "Loss", False
        values = [_loss_values(detail, view) for detail in details]
    elif view.curve_index <= len(METRICS):
        metric = METRICS[view.curve_index - 1]
        title, write, zero = metric.title[0].upper() + metric.title[1:], metric.format_value, metric.from_zero
        values = [metric.select(detail.curves) for detail in details]
    elif view.curve_index == len(METRICS) + 1:
        title, zero = _EVALUATION_LOSS, False
        values = [[item.loss for item in detail.evals] for detail in details]
    else:
        title = (scored_metrics(details)[view.curve_index - len(METRICS) - 2 :] or ["Scores of answers"])[0]
        zero, values = True, [answer_scores(detail).get(title, ()) for detail in details]
        title = one_line(title)
    lines = tuple(
        ChartLine(
            _run_label(detail),
            _plotted_steps(detail, view) if len(series) else (),
            series,
            f"run-{index + 1}",
            dash=CURVE_DASHES[index],
            glyph=CURVE_GLYPHS[index],
            offset=index * 16 // MAX_RUNS,
        )
        for index, (detail, series) in enumerate(zip(details, values, strict=True))
    )
    last = max((float(detail.row.total or 0) for detail in details), default=0.0)
    return Plot(title, lines, last or None, write, zero, view.logarithmic, window)


def _plotted_steps(detail: RunDetail, view: ChartView) -> Sequence[int]:
    if view.field is not None or view.curve_index <= len(METRICS):
        return detail.curves.steps
    if view.curve_index == len(METRICS) + 1:
        return [item.step for item in detail.evals]
    return scored_steps(detail)


def _loss_values(detail: RunDetail, view: ChartView) -> Sequence[float]:
    lines = smoothed_lines(detail.curves, view)
    return lines[0].values if lines else detail.curves.loss


def _run_label(detail: RunDetail) -> str:
    return one_line(detail.row.title, limit=24)


def differing_options(specs: Sequence[Any], *, show_all: bool) -> list[tuple[str, list[Any]]]:
    """Fields of specs whose values are not all equal (`show_all`: all fields), with the value of each spec."""
    names = dict.fromkeys(name for spec in specs for name in spec)
    rows = [(name, [spec.get(name) for spec in specs]) for name in names if name not in _OMITTED_OPTIONS]
    return [(name, values) for name, values in rows if show_all or any(value != values[0] for value in values[1:])]


def comparison_lines(details: Sequence[RunDetail], width: int, *, show_all: bool) -> list[Content]:
    """Results first, then the options that differ."""
    label = 22 if width >= 100 else 16
    column = max((width - label) // max(len(details), 1) - 2, 8)

    def row(name: str, cells: Sequence[Content | str]) -> Content:
        parts = [cell(Content.styled(one_line(name), tone("dim")), label)]
        for item in cells:
            parts += [cell(item if isinstance(item, Content) else Content(item), column), Content("  ")]
        return line(*parts)

    all_scores = [answer_scores(detail) for detail in details]
    titles = [
        line(
            (f"{CURVE_GLYPHS[index]} ", tone(f"run-{index + 1}", "bold")),
            (_run_label(detail), tone(f"run-{index + 1}", "bold")),
        )
        for index, detail in enumerate(details)
    ]
    lines = [
        row("", titles),
        row("state", [state_text(detail.row.state) for detail in details]),
        row("step", [f"{detail.row.step}/{detail.row.total or formatting.DASH}" for detail in details]),
        row("loss", _loss_cells([detail.row.loss for detail in details])),
        row("best eval", _loss_cells([_best_eval(detail) for detail in details])),
        *(
            row(
                name,
                [formatting.loss(_last(scores.get(name, ()))) for scores in all_scores],
            )
            for name in scored_metrics(details)
        ),
        row("tokens/s", [formatting.compact(_mean(detail.curves.tokens_per_second)) for detail in details]),
        row("peak memory", [formatting.size(_largest(memory_curve(detail.curves))) for detail in details]),
        row("time", [formatting.duration(detail.elapsed) for detail in details]),
        Content(),
    ]
    fields = differing_options([detail.spec for detail in details], show_all=show_all)
    heading = "Options" if show_all else "Options that differ" if fields else "All options are equal"
    lines.append(Content.styled(heading, tone("key", "bold")))
    return lines + [
        row(name, [one_line(_format_option(value), limit=200) for value in values]) for name, values in fields
    ]


def _format_option(value: Any) -> str:
    return formatting.DASH if value is None else "yes" if value is True else "no" if value is False else str(value)


def _loss_cells(values: Sequence[float | None]) -> list[Content]:
    """Losses, the lowest of several in bold."""
    numbers = finite([value for value in values if value is not None])
    least = min(numbers) if len(numbers) > 1 else None
    return [
        Content.styled(formatting.loss(value), tone("finished", "bold") if value is not None and value == least else "")
        for value in values
    ]


def _best_eval(detail: RunDetail) -> float | None:
    return min((item.loss for item in detail.evals if isfinite(item.loss)), default=None)


def _mean(values: Sequence[float]) -> float | None:
    numbers = finite(values)
    return sum(numbers) / len(numbers) if numbers else None


def _last(values: Sequence[float]) -> float | None:
    return next((value for value in reversed(values) if isfinite(value)), None)


def _largest(values: Sequence[float]) -> float | None:
    return max(finite(values), default=None)


class ComparisonTable(Lines):
    """The table of the newest details."""

    DEFAULT_CSS = """
    ComparisonTable { padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.details: Sequence[RunDetail] = ()
        self.show_all_options = False

    def show(self, details: Sequence[RunDetail], *, show_all: bool) -> None:
        """Show newer details; `show_all`: equal options too."""
        self.details, self.show_all_options = details, show_all
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        if not self.details:
            return [Content.styled("reading journals …", tone("dim"))]
        return comparison_lines(self.details, width, show_all=self.show_all_options)
