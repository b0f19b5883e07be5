"""What is chosen of a chart: zoom, pan, smoothing; and how curves, rules and several runs are drawn."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mg_tui.runs.folder import RunFolder
from mg_tui.runs.records import LossEvaluation, Sample
from mg_tui.runs.state import RunState
from mg_tui.runs.view import RunView
from mg_tui.tui.braille import Canvas, Frame, Pen, draw_curve
from mg_tui.tui.runs.chart_view import ChartView
from mg_tui.tui.runs.snapshot import RunCurves, RunDetail, build_curves, build_detail, build_row
from mg_tui.tui.widgets.chart import CURVE_GLYPHS, ChartLine, Plot, draw_plot
from mg_tui.tui.widgets.run.metrics import (
    METRICS,
    answer_scores,
    metric_column,
    metric_strip,
    run_curve_count,
    run_plot,
)
from mg_tui.tui.widgets.run.samples import history_marks, sample_steps, samples_at_step
from mg_tui.tui.widgets.run_comparison import (
    comparison_curve_count,
    comparison_lines,
    comparison_plot,
    differing_options,
)

STEPS = list(range(1, 101))


def test_zoom_keeps_the_newest_and_ends_at_everything() -> None:
    view = ChartView().zoom(STEPS, 0.5)
    assert view.window(STEPS) == (50.5, 100.0)
    longer = [*STEPS, *range(101, 121)]
    assert view.window(longer) == (70.5, 120.0)  # it follows what comes
    assert view.zoom(STEPS, 2.0).window(STEPS) is None
    narrow = ChartView()
    for _ in range(20):
        narrow = narrow.zoom(STEPS, 0.5)
    assert narrow.span == 8.0


def test_pan_stays_within_and_follows_again_at_the_end() -> None:
    view = ChartView().zoom(STEPS, 0.5)
    back = view.pan(STEPS, -0.5)
    assert back.window(STEPS) == (25.75, 75.25)
    assert back.window([*STEPS, 101, 102]) == (25.75, 75.25)  # it stays where it was put
    for _ in range(9):
        back = back.pan(STEPS, -0.5)
    assert back.window(STEPS) == (1.0, 50.5)
    for _ in range(9):
        back = back.pan(STEPS, 0.5)
    assert back == view
    assert ChartView().pan(STEPS, -1.0) == ChartView()  # nothing to pan when all is shown
    assert back.show_all_steps() == ChartView()


def test_smoothing_goes_from_none_to_much() -> None:
    view, smoothings = ChartView(), []
    for _ in range(9):
        view = view.adjust_smoothing(-1)
    for _ in range(9):
        smoothings.append(view.smoothing_points(160))
        view = view.adjust_smoothing(1)
    assert smoothings == [0, 2, 5, 10, 20, 40, 40, 40, 40]
    assert ChartView().is_default_smoothing and not ChartView().adjust_smoothing(1).is_default_smoothing


def test_without_steps_nothing_changes() -> None:
    assert ChartView().zoom([], 0.5) == ChartView() and ChartView().zoom([], 0.5).window([]) is None


def _plot(window=None, *more: ChartLine) -> Plot:
    return Plot("Loss", (ChartLine("each", STEPS, [100.0 - step for step in STEPS], "raw"), *more), step_window=window)


def test_a_zoomed_chart_has_only_its_steps_and_says_which() -> None:
    rows = draw_plot(_plot((90.0, 100.0)), 78, 12)
    assert "steps 90 to 100" in rows[0].plain
    assert rows[-1].plain.split()[2:] == ["92", "94", "96", "98", "100"]
    assert not any("100" in row.plain or "50" in row.plain for row in rows[1:-1])  # values of other steps


def test_a_mark_outside_of_the_zoom_is_not_drawn_at_its_edge() -> None:
    evals = ChartLine("eval", [10, 95], [90.0, 5.0], "eval", "mark")
    drawn = "".join(row.plain for row in draw_plot(_plot((90.0, 100.0), evals), 78, 12)[1:])
    assert drawn.count("◆") == 1


def test_a_rule_is_in_sight_and_dashed() -> None:
    rule = ChartLine("estimate", (1.0, 100.0), (400.0, 400.0), "eval", "rule")
    rows = draw_plot(_plot(None, rule), 78, 20)
    (top,) = [row.plain for row in rows[1:4] if any("\u2800" < c <= "\u28ff" for c in row.plain)]
    cells = top.partition("│")[2] or top.partition("┤")[2]
    assert 20 < sum("\u2800" < c <= "\u28ff" for c in cells) < 70  # neither a dot nor a full line
    zoomed = draw_plot(_plot((50.0, 60.0), rule), 78, 20)
    assert any("\u2800" < c <= "\u28ff" for row in zoomed[1:3] for c in row.plain)


def test_runs_are_told_apart_by_glyphs_and_dashes() -> None:
    canvas = Canvas(64, 8)
    frame = Frame(0, 100, 0, 1)
    draw_curve(canvas, frame, STEPS, [0.5] * 100, Pen("run-1", glyph="●", offset=3))
    dashed = Canvas(64, 8)
    draw_curve(dashed, frame, STEPS, [0.5] * 100, Pen("run-2", dash=(6, 2)))
    solid = "".join(text for row in canvas.rows() for text, _ in row)
    assert solid.count("●") == 4  # cells 3, 19, 35 and 51
    broken = "".join(text for row in dashed.rows() for text, _ in row)
    assert 0 < sum(c != " " for c in broken) < 62
    assert len(set(CURVE_GLYPHS)) == len(CURVE_GLYPHS)


def test_what_differs_between_specs() -> None:
    specs = [{"name": "a", "lora_r": 8, "lr": 1.0}, {"name": "b", "lora_r": 16, "lr": 1.0}, {"lora_r": 8}]
    assert differing_options(specs, show_all=False) == [("lora_r", [8, 16, 8]), ("lr", [1.0, 1.0, None])]
    assert [name for name, _ in differing_options(specs, show_all=True)] == ["lora_r", "lr"]


def _sample(step: int, row: int, answer: str, expected: str | None = "cat") -> Sample:
    return Sample(step, row, None, f"what {row}?", answer, expected)


def test_answers_of_a_step_have_their_histories() -> None:
    samples = [_sample(50, 2, "dog"), _sample(50, 1, "cat"), _sample(100, 1, "cow"), _sample(100, 2, "cat")]
    assert sample_steps(samples) == [50, 100]
    (first, before_first), (second, before_second) = samples_at_step(samples, 100)
    assert (first.answer, second.answer) == ("cow", "cat")
    assert history_marks(before_first, 100).plain == "✓✗" and history_marks(before_second, 100).plain == "✗✓"
    assert samples_at_step(samples, 70) == []


def test_answers_to_nothing_expected_are_marked_where_they_change() -> None:
    history = [_sample(step, 1, answer, None) for step, answer in ((1, "a"), (2, "a"), (3, "b"))]
    assert history_marks(history, 3).plain == "~·~"


@pytest.mark.parametrize("width", [20, 59, 80, 200])
def test_the_table_of_compared_runs_fits(width, tmp_path) -> None:

    view = RunView()
    row = build_row(RunFolder(tmp_path), view, RunState.CREATED, {}, now=0.0)
    detail = build_detail(row, view, {"a": "x" * 300}, build_curves(view), now=0.0)
    for line in comparison_lines([detail, detail, detail], width, show_all=True):
        assert line.cell_length <= max(width, 60)


def test_scores_of_answers_stand_beside_the_other_metrics() -> None:
    def evaluation(step: int, **metrics: float) -> LossEvaluation:
        return LossEvaluation(step, 0.5, 1.0, 4, metrics)

    row: Any = None
    evals = (evaluation(2, anls=0.25), evaluation(4), evaluation(6, anls=0.75, cer=0.5))
    detail = RunDetail(row, RunCurves(), 0, evals=evals)
    assert {name: values[-1] for name, values in answer_scores(detail).items()} == {"anls": 0.75, "cer": 0.5}
    (line,) = [line.plain for line in metric_column(detail, 60) if line.plain.startswith("anls")]
    assert "0.7500  ▁▇" in line, "with its curve"
    assert metric_strip(detail, 80)[0].plain.startswith("anls 0.75")
    assert answer_scores(RunDetail(row, RunCurves(), 0, evals=(evaluation(2),))) == {}


def _scored_run(folder: Path, *evaluations: tuple[int, dict[str, float]]) -> RunDetail:
    view = RunView()
    row = build_row(RunFolder(folder), view, RunState.CREATED, {}, now=0.0)
    detail = build_detail(row, view, {}, build_curves(view), now=0.0)
    values: list[Any] = [[0.5] * 10] * 9
    curves = RunCurves(range(1, 11), *values)
    evals = tuple(LossEvaluation(step, 0.5, 1.0, 4, metrics) for step, metrics in evaluations)
    return replace(detail, curves=curves, evals=evals)


def test_scores_of_answers_are_curves_of_the_chart(tmp_path) -> None:
    nan = float("nan")
    detail = _scored_run(tmp_path, (2, {"anls": 0.25}), (4, {}), (6, {"anls": 0.75, "cer": nan}))
    assert run_curve_count(detail) == 1 + len(METRICS) + 2
    plots = [run_plot(detail, ChartView(curve_index=index)) for index in range(run_curve_count(detail))]
    assert [plot.title for plot in plots[-2:]] == ["anls", "cer"]
    assert {(tuple(line.steps), tuple(line.values)) for line in plots[-2].lines} == {((2, 6), (0.25, 0.75))}
    legend, *body = (drawn.plain for drawn in draw_plot(plots[-2], 80, 12))
    assert legend.split() == ["anls", "◆", "eval", "0.7500"]
    assert "".join(body).count("◆") == 2
    assert plots[-1].is_empty, "a score that is no number is no point"
    beyond = run_plot(_scored_run(tmp_path), ChartView(curve_index=run_curve_count(detail) - 1))
    assert beyond.is_empty, "in a replay from the start the scores are not there yet"


def test_scores_of_answers_are_compared_between_runs(tmp_path) -> None:
    one = _scored_run(tmp_path, (2, {"anls": 0.25}), (6, {"anls": 0.75}))
    other = _scored_run(tmp_path, (3, {"cer": 0.125}), (5, {"cer": float("nan")}))
    runs = [one, other]
    table = [drawn.plain.split() for drawn in comparison_lines(runs, 100, show_all=False)]
    assert ["anls", "0.7500", "–"] in table and ["cer", "–", "0.1250"] in table
    assert comparison_curve_count(runs) == len(METRICS) + 4
    plots = [comparison_plot(runs, ChartView(curve_index=index)) for index in range(comparison_curve_count(runs))]
    assert [plot.title for plot in plots[-2:]] == ["anls", "cer"]
    assert [(list(line.steps), list(line.values)) for line in plots[-2].lines] == [([2, 6], [0.25, 0.75]), ([], [])]
    assert all(draw_plot(plot, 80, 12) for plot in plots)
