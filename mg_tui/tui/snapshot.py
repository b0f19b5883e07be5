"""What a screen shows of a run: made from a `RunView` in the thread that reads it, and never changed afterwards.

The view goes on changing in its thread; a screen that kept it would draw half of one moment and half of the next.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final

from mg_tui.core.text import one_line
from mg_tui.runs.cost import cost_of
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.outcome import Outcome, outcome
from mg_tui.runs.records import text
from mg_tui.runs.state import RunState
from mg_tui.runs.view import Decision, Evaluation, Notice, RunView, Sample, SavedCheckpoint
from mg_tui.tui.draw import buckets, smooth

CURVE_POINTS: Final = 96


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run in the list. Texts are safe to show; times are Unix seconds; `share` is of one, None when unplanned."""

    folder: RunFolder
    title: str
    state: RunState
    step: int
    total: int | None
    share: float | None
    loss: float | None
    steps: tuple[float, ...]
    losses: tuple[float, ...]
    eta: float | None
    since: float | None
    model: str
    phase: str
    said: str = ""
    problem: str | None = None
    pid: int | None = None
    result: str | None = None
    queue: tuple[int, bool] | None = None  # its place in the queue from 1, and whether it is held

    @property
    def id(self) -> str:
        """The run's id."""
        return self.folder.id

    def matches(self, query: str) -> bool:
        """Whether every word of `query` is in the title, the id, the state or the model."""
        text = f"{self.title} {self.id} {self.state.word} {self.model}".casefold()
        return all(word in text for word in query.casefold().split())


@dataclass(frozen=True, slots=True)
class Curves:
    """Curves over optimizer steps: parallel lists, NaN where there is no value. Sizes in bytes, rates per second."""

    steps: Sequence[int] = ()
    loss: Sequence[float] = ()
    smoothed: Sequence[float] = ()
    learning_rate: Sequence[float] = ()
    grad_norm: Sequence[float] = ()
    device_memory: Sequence[float] = ()
    host_memory: Sequence[float] = ()
    tokens_per_second: Sequence[float] = ()
    images_per_second: Sequence[float] = ()
    data_wait: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class RunDetail:
    """Everything the screen of one run shows."""

    row: RunRow
    curves: Curves
    number: int
    epoch: float | None = None
    elapsed: float | None = None
    attempt: int = 0
    resumed_from: int | None = None
    stopping: bool = False
    evals: tuple[Evaluation, ...] = ()
    samples: tuple[Sample, ...] = ()
    checkpoints: tuple[SavedCheckpoint, ...] = ()
    warnings: tuple[Notice, ...] = ()
    warning_count: int = 0
    decisions: tuple[Decision, ...] = ()
    error: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    outcome: Outcome | None = None
    used: str = ""


def row_of(
    folder: RunFolder,
    view: RunView,
    state: RunState,
    spec: Mapping[str, Any],
    *,
    now: float,
    problem: str | None = None,
) -> RunRow:
    """The list's view of a run at `now` (Unix seconds)."""
    total = view.total_steps
    share = None if not total else min(view.step / total, 1.0)
    return RunRow(
        folder=folder,
        title=one_line(view.name or folder.id, limit=200),
        state=state,
        step=view.step,
        total=total,
        share=1.0 if state is RunState.FINISHED else share,
        loss=view.loss,
        steps=tuple(buckets(view.series.steps, CURVE_POINTS)),
        losses=tuple(buckets(smooth(view.series.loss, window=window_of(len(view.series))), CURVE_POINTS)),
        eta=None if state is not RunState.RUNNING else view.eta_seconds(now),
        since=view.ended_at or view.started_at or view.created_at,
        model=one_line(str(spec.get("base_model", "")), limit=200),
        phase=phase_of(view),
        said=said_of(view, state),
        problem=None if problem is None else one_line(problem, limit=400),
        result=text(view.result.get("result")),
        pid=view.pid if state is RunState.RUNNING else None,
    )


def phase_of(view: RunView) -> str:
    """What the worker is doing, with its detail, on one line."""
    said = ": ".join(part for part in (view.phase, view.phase_detail) if part)
    return one_line(said, limit=200)


def said_of(view: RunView, state: RunState) -> str:
    """What a run is doing or what became of it, on one line."""
    match state:
        case RunState.RUNNING:
            return phase_of(view)
        case RunState.QUEUED:
            return phase_of(view) or "waiting for its turn"
        case RunState.FAILED:
            said = str(view.error.get("what") or view.error.get("error") or "")
        case RunState.CRASHED:
            said = f"its worker ended without a word after step {view.step}"
        case RunState.INTERRUPTED:
            said = f"after step {view.step}: the machine or the container it was in was ended"
        case RunState.STOPPED:
            said = f"at step {view.step}, by {view.result.get('by', 'somebody')}"
        case RunState.FINISHED:
            said = f"result in {view.result['result']}" if view.result.get("result") else ""
        case _:
            said = "its worker has not started yet"
    return one_line(said, limit=300)


def window_of(points: int) -> int:
    """Over how many of so many points a curve is smoothed."""
    return max(5, points // 16)


def curves_of(view: RunView) -> Curves:
    """The view's curves, copied, with the loss smoothed over about a sixteenth of the run."""
    series = view.series
    return Curves(
        steps=series.steps[:],
        loss=series.loss[:],
        smoothed=smooth(series.loss, window=window_of(len(series))),
        learning_rate=series.learning_rate[:],
        grad_norm=series.grad_norm[:],
        device_memory=series.device_memory[:],
        host_memory=series.host_memory[:],
        tokens_per_second=series.tokens_per_second[:],
        images_per_second=series.images_per_second[:],
        data_wait=series.data_wait[:],
    )


def detail_of(
    row: RunRow,
    view: RunView,
    spec: Mapping[str, Any],
    curves: Curves,
    *,
    now: float,
    prices: Mapping[str, Any] | None = None,
) -> RunDetail:
    """The screen's view of a run at `now` (Unix seconds). `prices`: the settings' [cost] table."""
    return RunDetail(
        row=row,
        curves=curves,
        number=view.last_number,
        epoch=view.epoch if view.epoch is not None and isfinite(view.epoch) else None,
        elapsed=view.elapsed_seconds(now if row.state is RunState.RUNNING else view.last_time or now),
        attempt=view.attempt,
        resumed_from=view.resumed_from,
        stopping=row.state is RunState.RUNNING and view.stop_asked,
        evals=tuple(view.evals),
        samples=tuple(view.samples),
        checkpoints=tuple(view.checkpoints),
        warnings=tuple(view.warnings),
        warning_count=view.warning_count,
        decisions=tuple(view.decisions),
        error=dict(view.error),
        result=dict(view.result),
        spec=spec,
        plan=dict(view.plan),
        outcome=outcome(row.folder, view, row.state),
        used=cost_of(view.energy_j, view.gpu_seconds, prices or {}).words or "",
    )
