"""What is chosen of a chart: zoom, pan, smoothing; and how curves, rules and several runs are drawn."""

import pytest

from mg_tui.runs.records import Sample
from mg_tui.tui.braille import Canvas, Frame, Pen, curve
from mg_tui.tui.charting import View
from mg_tui.tui.widgets.chart import Line, Plot, draw
from mg_tui.tui.widgets.compared import GLYPHS, differing
from mg_tui.tui.widgets.run.answers import at_step, marks, steps_of

STEPS = list(range(1, 101))


def test_zoom_keeps_the_newest_and_ends_at_everything() -> None:
    view = View().zoomed(STEPS, 0.5)
    assert view.window(STEPS) == (50.5, 100.0)
    longer = [*STEPS, *range(101, 121)]
    assert view.window(longer) == (70.5, 120.0)  # it follows what comes
    assert view.zoomed(STEPS, 2.0).window(STEPS) is None
    narrow = View()
    for _ in range(20):
        narrow = narrow.zoomed(STEPS, 0.5)
    assert narrow.span == 8.0


def test_pan_stays_within_and_follows_again_at_the_end() -> None:
    view = View().zoomed(STEPS, 0.5)
    back = view.panned(STEPS, -0.5)
    assert back.window(STEPS) == (25.75, 75.25)
    assert back.window([*STEPS, 101, 102]) == (25.75, 75.25)  # it stays where it was put
    for _ in range(9):
        back = back.panned(STEPS, -0.5)
    assert back.window(STEPS) == (1.0, 50.5)
    for _ in range(9):
        back = back.panned(STEPS, 0.5)
    assert back == view
    assert View().panned(STEPS, -1.0) == View()  # nothing to pan when all is shown
    assert back.whole() == View()


def test_smoothing_goes_from_none_to_much() -> None:
    view, found = View(), []
    for _ in range(9):
        view = view.smoother(-1)
    for _ in range(9):
        found.append(view.smoothing(160))
        view = view.smoother(1)
    assert found == [0, 2, 5, 10, 20, 40, 40, 40, 40]
    assert View().usual and not View().smoother(1).usual


def test_without_steps_nothing_changes() -> None:
    assert View().zoomed([], 0.5) == View() and View().zoomed([], 0.5).window([]) is None


def _plot(window=None, *more: Line) -> Plot:
    return Plot("Loss", (Line("each", STEPS, [100.0 - step for step in STEPS], "raw"), *more), window=window)


def test_a_zoomed_chart_has_only_its_steps_and_says_which() -> None:
    rows = draw(_plot((90.0, 100.0)), 78, 12)
    assert "steps 90 to 100" in rows[0].plain
    assert rows[-1].plain.split()[1:] == ["92", "94", "96", "98", "100"]
    assert not any("100" in row.plain or "50" in row.plain for row in rows[1:-1])  # values of other steps


def test_a_mark_outside_of_the_zoom_is_not_drawn_at_its_edge() -> None:
    evals = Line("eval", [10, 95], [90.0, 5.0], "eval", "mark")
    drawn = "".join(row.plain for row in draw(_plot((90.0, 100.0), evals), 78, 12)[1:])
    assert drawn.count("◆") == 1


def test_a_rule_is_in_sight_and_dashed() -> None:
    rule = Line("estimate", (1.0, 100.0), (400.0, 400.0), "eval", "rule")
    rows = draw(_plot(None, rule), 78, 20)
    (top,) = [row.plain for row in rows[1:4] if any("\u2800" < c <= "\u28ff" for c in row.plain)]
    cells = top.partition("│")[2] or top.partition("┤")[2]
    assert 20 < sum("\u2800" < c <= "\u28ff" for c in cells) < 70  # neither a dot nor a full line
    zoomed = draw(_plot((50.0, 60.0), rule), 78, 20)
    assert any("\u2800" < c <= "\u28ff" for row in zoomed[1:3] for c in row.plain)


def test_runs_are_told_apart_by_glyphs_and_dashes() -> None:
    canvas = Canvas(64, 8)
    frame = Frame(0, 100, 0, 1)
    curve(canvas, frame, STEPS, [0.5] * 100, Pen("run-1", glyph="●", offset=3))
    dashed = Canvas(64, 8)
    curve(dashed, frame, STEPS, [0.5] * 100, Pen("run-2", dash=(6, 2)))
    solid = "".join(text for row in canvas.rows() for text, _ in row)
    assert solid.count("●") == 4  # cells 3, 19, 35 and 51
    broken = "".join(text for row in dashed.rows() for text, _ in row)
    assert 0 < sum(c != " " for c in broken) < 62
    assert len(set(GLYPHS)) == len(GLYPHS)


def test_what_differs_between_specs() -> None:
    specs = [{"name": "a", "lora_r": 8, "lr": 1.0}, {"name": "b", "lora_r": 16, "lr": 1.0}, {"lora_r": 8}]
    assert differing(specs, every=False) == [("lora_r", [8, 16, 8]), ("lr", [1.0, 1.0, None])]
    assert [name for name, _ in differing(specs, every=True)] == ["lora_r", "lr"]


def _sample(step: int, row: int, answer: str, expected: str | None = "cat") -> Sample:
    return Sample(step, row, None, f"what {row}?", answer, expected)


def test_answers_of_a_step_have_their_histories() -> None:
    samples = [_sample(50, 2, "dog"), _sample(50, 1, "cat"), _sample(100, 1, "cow"), _sample(100, 2, "cat")]
    assert steps_of(samples) == [50, 100]
    (first, before_first), (second, before_second) = at_step(samples, 100)
    assert (first.answer, second.answer) == ("cow", "cat")
    assert marks(before_first, 100).plain == "✓✗" and marks(before_second, 100).plain == "✗✓"
    assert at_step(samples, 70) == []


def test_answers_to_nothing_expected_are_marked_where_they_change() -> None:
    history = [_sample(step, 1, answer, None) for step, answer in ((1, "a"), (2, "a"), (3, "b"))]
    assert marks(history, 3).plain == "~·~"


@pytest.mark.parametrize("width", [20, 59, 80, 200])
def test_the_table_of_compared_runs_fits(width, tmp_path) -> None:
    from mg_tui.runs.folder import RunFolder
    from mg_tui.runs.state import RunState
    from mg_tui.runs.view import RunView
    from mg_tui.tui.snapshot import curves_of, detail_of, row_of
    from mg_tui.tui.widgets.compared import table

    view = RunView()
    row = row_of(RunFolder(tmp_path), view, RunState.CREATED, {}, now=0.0)
    detail = detail_of(row, view, {"a": "x" * 300}, curves_of(view), now=0.0)
    for line in table([detail, detail, detail], width, every=True):
        assert line.cell_length <= max(width, 60)
