"""The view: what events add up to."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mg_tui.core.events import KINDS, Event
from mg_tui.runs.series import Series
from mg_tui.runs.state import RunState
from mg_tui.runs.view import RunView

Tell = Callable[..., None]


@pytest.fixture
def view() -> RunView:
    return RunView()


@pytest.fixture
def tell(view: RunView) -> Tell:
    """Apply one event, a second after the one before."""

    def apply(kind: str, **data: Any) -> None:
        number = view.last_number + 1
        view.apply([Event(number, 1_000.0 + number, kind, data)])

    return apply


@pytest.mark.parametrize(
    ("kinds", "free", "held"),
    [
        ([], RunState.CREATED, RunState.RUNNING),
        (["created"], RunState.CREATED, RunState.RUNNING),
        (["created", "started"], RunState.CRASHED, RunState.RUNNING),
        (["created", "started", "step"], RunState.CRASHED, RunState.RUNNING),
        (["created", "started", "finished"], RunState.FINISHED, RunState.FINISHED),
        (["created", "started", "stopped"], RunState.STOPPED, RunState.STOPPED),
        (["created", "started", "failed", "warning"], RunState.FAILED, RunState.FAILED),
        (["created", "started", "failed", "started"], RunState.CRASHED, RunState.RUNNING),
    ],
)
def test_state(view: RunView, tell: Tell, kinds: list[str], free: RunState, held: RunState) -> None:
    for kind in kinds:
        tell(kind, **({"step": 1} if kind == "step" else {}))
    assert view.state(lock_held=False) is free
    assert view.state(lock_held=True) is held


def test_every_state_has_a_glyph_one_cell_wide_and_a_word() -> None:
    from rich.cells import cell_len

    assert {cell_len(state.glyph) for state in RunState} == {1}
    assert len({state.glyph for state in RunState}) == len(RunState)
    assert [state for state in RunState if not state.ended] == [
        RunState.CREATED,
        RunState.QUEUED,
        RunState.RUNNING,
    ]


def test_a_run_from_beginning_to_end(view: RunView, tell: Tell) -> None:
    tell("created", name="mine", spec_digest="d", versions={"torch": "2"})
    tell("started", pid=7, host="box", attempt=1, resumed_from=None, versions={"torch": "3"})
    tell("phase", name="training", detail="on cpu")
    tell("plan", examples=10, steps=4)
    tell("decision", what="dtype", value="float32", why="no GPU")
    tell(
        "step", step=1, epoch=0.5, loss=2.0, learning_rate=1e-4, grad_norm="nan", seconds=0.5, tokens=100, data_wait=0.1
    )
    tell("eval", step=1, loss=1.5, seconds=2, examples=3)
    tell("sample", step=1, row=4, image="/i.png", prompt="p", answer="a", expected="e")
    tell("checkpoint", step=1, path="checkpoints/step-000001", bytes=10, seconds=0.1)
    tell("rows_skipped", count=2, file="skipped_rows.jsonl")
    tell("request", request="stop", by="me")
    assert (view.name, view.pid, view.host, view.attempt, view.versions) == ("mine", 7, "box", 1, {"torch": "3"})
    assert (view.phase, view.phase_detail, view.step, view.total_steps, view.epoch) == ("training", "on cpu", 1, 4, 0.5)
    assert view.loss == 2.0
    assert math.isnan(view.series.grad_norm[0])
    assert view.series.tokens_per_second == [200.0]
    assert view.series.data_wait == [pytest.approx(0.2)]
    assert math.isnan(view.series.images_per_second[0])
    assert view.evals[0].loss == 1.5
    assert view.samples[0].answer == "a"
    assert view.checkpoints[0].path == "checkpoints/step-000001"
    assert (view.skipped_rows, view.requests[0]["by"], view.decisions[0].why) == (2, "me", "no GPU")
    tell("finished", steps=1, seconds=9.0, result="/out", metrics={})
    assert (view.result["result"], view.phase, view.ended_at) == ("/out", None, 1_012.0)
    assert view.elapsed_seconds(9e9) == 10.0


def test_an_event_counts_once(view: RunView) -> None:
    warning = Event(1, 1.0, "warning", {"what": "w"})
    view.apply([warning])
    view.apply([warning])
    assert view.warning_count == 1


def test_a_resumed_run_shows_each_step_once(view: RunView, tell: Tell) -> None:
    tell("started", attempt=1)
    for step in range(1, 11):
        tell("step", step=step, loss=1.0, seconds=1)
    tell("eval", step=5, loss=1)
    tell("eval", step=10, loss=1)
    tell("started", attempt=2, resumed_from=5)
    assert (view.step, view.series.steps, [e.step for e in view.evals]) == (5, [1, 2, 3, 4, 5], [5])
    tell("step", step=6, loss=2.0, seconds=1)
    assert view.series.steps == [1, 2, 3, 4, 5, 6]
    assert view.series.loss[-1] == 2.0


def test_a_run_begun_anew_forgets_its_steps(view: RunView, tell: Tell) -> None:
    tell("started", attempt=1)
    tell("step", step=1, loss=1.0)
    tell("failed", what="out of memory", exit_code=1)
    assert view.error["what"] == "out of memory"
    tell("started", attempt=2, resumed_from=None)
    assert (view.step, len(view.series), view.error, view.ended_at) == (0, 0, {}, None)


def test_a_step_after_an_end_means_that_it_was_resumed(view: RunView, tell: Tell) -> None:
    """The `started` of a resumed run can be in the part of a long journal that a list passes over."""
    tell("stopped", step=3)
    tell("step", step=4)
    assert view.state(lock_held=False) is RunState.CRASHED


def test_eta(view: RunView, tell: Tell) -> None:
    tell("started")
    tell("plan", steps=10)
    assert view.eta_seconds(0) is None
    tell("step", step=1)
    tell("step", step=2)
    last = view.last_time
    assert last is not None
    assert view.eta_seconds(last) == 8.0
    assert view.eta_seconds(last + 3) == 5.0
    assert view.eta_seconds(last + 99) == 0.0
    tell("finished")
    assert view.eta_seconds(last) is None


def test_eta_with_a_clock_set_back(view: RunView) -> None:
    data = {"steps": 10}
    view.apply([Event(1, 50.0, "started"), Event(2, 50.0, "plan", data)])
    view.apply([Event(3, 50.0, "step", {"step": 1}), Event(4, 20.0, "step", {"step": 2})])
    assert view.eta_seconds(21.0) is None
    assert view.elapsed_seconds(20.0) == 0.0


def test_equal_warnings_in_a_row_are_one_with_a_count(view: RunView, tell: Tell) -> None:
    for what in ("a", "a", "b", "a"):
        tell("warning", what=what, where="w")
    assert [(w.what, w.times) for w in view.warnings] == [("a", 2), ("b", 1), ("a", 1)]
    assert view.warning_count == 4


def test_removed_checkpoints_are_gone_and_rewritten_ones_there_once(view: RunView, tell: Tell) -> None:
    tell("checkpoint", step=1, path="a")
    tell("checkpoint", step=2, path="b")
    tell("checkpoint", step=1, path="a")
    tell("checkpoint_removed", step=2, path="b")
    assert [c.path for c in view.checkpoints] == ["a"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
FIELDS = st.sampled_from("name step steps loss path pid attempt resumed_from epoch seconds tokens count what".split())


@given(st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.dictionaries(FIELDS, JSON, max_size=4)), max_size=20))
def test_no_event_of_a_known_kind_can_break_the_view(events: list[tuple[str, dict[str, Any]]]) -> None:
    view = RunView()
    view.apply(Event(n, float(n), kind, data) for n, (kind, data) in enumerate(events, 1))
    view.state(lock_held=False)
    view.eta_seconds(1.0)


@given(st.integers(8, 64), st.integers(1, 2_000), st.integers(1, 3))
def test_a_series_stays_small_and_keeps_its_ends(points: int, count: int, spacing: int) -> None:
    series = Series(points)
    for step in range(1, count * spacing + 1, spacing):
        series.add(step, float(step), {"loss": step})
    assert len(series) <= points
    assert series.steps[0] == 1
    assert series.steps[-1] == (count - 1) * spacing + 1
    assert series.loss == [float(step) for step in series.steps]
    assert series.steps == sorted(set(series.steps))
    if count <= points:
        assert len(series) == count
    else:
        assert len(series) > points // 4


def test_time_between_attempts_is_not_working_time() -> None:
    view = RunView()
    view.apply([Event(1, 100.0, "started", {"attempt": 1}), Event(2, 130.0, "step", {"step": 1})])
    assert view.elapsed_seconds(140.0) == 40.0
    view.apply([Event(3, 5000.0, "queued", {}), Event(4, 6000.0, "started", {"attempt": 2, "resumed_from": 1})])
    assert (view.earlier_seconds, view.elapsed_seconds(6010.0)) == (30.0, 40.0)
    view.apply([Event(5, 6020.0, "finished", {"steps": 2})])
    assert view.elapsed_seconds(9999.0) == 50.0
    assert view.started_at == 100.0


@pytest.mark.parametrize("end", ["stopped", "failed", None])
def test_what_is_written_between_attempts_does_not_lengthen_the_one_before(end: str | None) -> None:
    """A spec that is accepted, or a checkpoint that is deleted, days after the end; a worker that died has none."""
    view = RunView()
    view.apply([Event(1, 100.0, "started", {"attempt": 1}), Event(2, 130.0, "step", {"step": 1})])
    if end is not None:
        view.apply([Event(3, 140.0, end, {"step": 1})])
    lasted = 30.0 if end is None else 40.0
    later = [
        Event(4, 5000.0, "checkpoint_removed", {"path": "checkpoints/step-000001"}),
        Event(5, 5500.0, "spec_accepted", {}),
    ]
    view.apply(later)
    assert view.elapsed_seconds(view.last_time or 0.0) == lasted
    view.apply([Event(6, 6000.0, "started", {"attempt": 2})])
    assert (view.earlier_seconds, view.elapsed_seconds(6010.0)) == (lasted, lasted + 10.0)
