"""Immutable views of a run for screens, built from a `RunView` in the thread that reads it.

The `RunView` keeps changing in its thread; a screen that held it would draw half of one moment and half of the next.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import PurePath
from typing import Any, Final

from mg_tui.core.text import one_line
from mg_tui.runs.annotations import NO_ANNOTATIONS, Annotations
from mg_tui.runs.cost import Cost, compute_cost, cost_to_end
from mg_tui.runs.elsewhere import explain_silence
from mg_tui.runs.filtering import matches_filter
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.heartbeat import describe_silence
from mg_tui.runs.outcome import Outcome, describe_outcome
from mg_tui.runs.records import RankState, optional_text
from mg_tui.runs.state import RunState
from mg_tui.runs.view import Decision, LossEvaluation, RunView, RunWarning, Sample, SavedCheckpoint
from mg_tui.runs.watcher_process import describe_watching
from mg_tui.tui.text_charts import bucket_means, exponential_mean

CURVE_POINTS: Final = 96
_USUAL_FILE_NAMES: Final = ("train", "data", "dataset", "annotations", "metadata", "test", "validation", "val")


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run in the list. Texts are printable; times are Unix seconds; `progress` is a share, None without a plan."""

    folder: RunFolder
    title: str
    state: RunState
    step: int
    total: int | None
    progress: float | None
    loss: float | None
    steps: tuple[float, ...]
    losses: tuple[float, ...]
    eta: float | None
    created_at: float | None
    model: str
    phase: str
    status_text: str = ""
    problem: str | None = None
    silence: str = ""  # "not responding for 42 s", or nothing
    pid: int | None = None
    result_path: str | None = None
    queue_position: tuple[int, bool] | None = None  # position in the queue from 1, and whether it is held
    dataset: str = ""
    eval_loss: float | None = None  # the lowest
    elapsed: float | None = None  # seconds that it ran
    annotations: Annotations = NO_ANNOTATIONS
    cost: str = ""  # money so far, with its currency; empty without a price
    named: bool = True  # False: the title is made of dataset, model and the end of the id

    @property
    def id(self) -> str:
        """The run's id."""
        return self.folder.id

    def matches(self, query: str) -> bool:
        """Whether a filter matches the title, the id, the state, the model, the note or the tags."""
        notes = self.annotations
        text = " ".join((self.title, self.id, self.state.label, self.model, notes.note, *notes.tags))
        return matches_filter(query, text, notes.tags)


@dataclass(frozen=True, slots=True)
class RunCurves:
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
    fields: Mapping[str, Sequence[float]] = field(default_factory=dict)  # every number of the step events, by its name


@dataclass(frozen=True, slots=True)
class RunDetail:
    """Everything that the screen of one run shows."""

    row: RunRow
    curves: RunCurves
    event_number: int
    epoch: float | None = None
    elapsed: float | None = None
    attempt: int = 0
    resumed_from: int | None = None
    stop_requested: bool = False
    evals: tuple[LossEvaluation, ...] = ()
    samples: tuple[Sample, ...] = ()
    checkpoints: tuple[SavedCheckpoint, ...] = ()
    warnings: tuple[RunWarning, ...] = ()
    warning_count: int = 0
    decisions: tuple[Decision, ...] = ()
    ranks: tuple[RankState, ...] = ()
    error: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    outcome: Outcome | None = None
    cost: str = ""
    watching: tuple[str, ...] = ()  # what is done around the run while nobody looks


def build_row(
    folder: RunFolder,
    view: RunView,
    state: RunState,
    spec: Mapping[str, Any],
    *,
    now: float,
    problem: str | None = None,
    annotations: Annotations = NO_ANNOTATIONS,
    silent_seconds: float | None = None,
    prices: Mapping[str, Any] | None = None,
) -> RunRow:
    """The list's view of a run at `now` (Unix seconds).

    `silent_seconds`: see `RunWatch`; `prices`: the settings' [cost] table.
    """
    if silent_seconds is not None:
        problem = f"{describe_silence(silent_seconds)}: {explain_silence(folder, view.pid, view.host)}"
    total = view.total_steps
    share = None if not total else min(view.step / total, 1.0)
    return RunRow(
        folder=folder,
        title=one_line(annotations.name or view.name or default_title(folder.id, spec), limit=200),
        named=bool(annotations.name or view.name),
        state=state,
        step=view.step,
        total=total,
        progress=1.0 if state is RunState.FINISHED else share,
        loss=view.loss,
        steps=tuple(bucket_means(view.series.steps, CURVE_POINTS)),
        losses=tuple(
            bucket_means(exponential_mean(view.series.loss, window=smoothing_window(len(view.series))), CURVE_POINTS)
        ),
        eta=None if state is not RunState.RUNNING else view.eta_seconds(now),
        created_at=view.created_at,
        model=one_line(str(spec.get("base_model", "")), limit=200),
        phase=format_phase(view),
        status_text=format_status(view, state),
        problem=None if problem is None else one_line(problem, limit=400),
        silence="" if silent_seconds is None else describe_silence(silent_seconds),
        result_path=optional_text(view.result.get("result")),
        pid=view.pid if state is RunState.RUNNING else None,
        dataset=one_line(str(spec.get("dataset", "")), limit=200),
        eval_loss=min((item.loss for item in view.evals if isfinite(item.loss)), default=None),
        elapsed=_elapsed(view, state, now),
        annotations=annotations,
        cost=_cost(view, state, now, prices or {}).formatted_money or "",
    )


def _cost(view: RunView, state: RunState, now: float, prices: Mapping[str, Any]) -> Cost:
    return compute_cost(view.energy_j, view.gpu_seconds, prices, _elapsed(view, state, now))


def _cost_text(row: RunRow, view: RunView, now: float, prices: Mapping[str, Any]) -> str:
    """What a run has used and cost, and what it will still cost."""
    cost = _cost(view, row.state, now, prices)
    left = cost_to_end(cost, row.elapsed, row.eta)
    more = f", about {left:,.2f} more to the end" if left is not None and row.state is RunState.RUNNING else ""
    return f"{cost.summary}{more}" if cost.summary else ""


def _elapsed(view: RunView, state: RunState, now: float) -> float | None:
    """Whole seconds that the run ran: of a running one until now, of one that died until its last event."""
    seconds = view.elapsed_seconds(now if state is RunState.RUNNING else view.last_time or now)
    return None if seconds is None else float(round(seconds))


def default_title(id: str, spec: Mapping[str, Any]) -> str:
    """What a run without a name is called: its dataset, its model and the last characters of its id."""
    dataset, model = (PurePath(str(spec.get(name) or "")) for name in ("dataset", "base_model"))
    stem = dataset.name.removesuffix(dataset.suffix)
    if stem.lower() in _USUAL_FILE_NAMES and dataset.parent.name:
        stem = dataset.parent.name
    parts = (stem, model.name, id.rpartition("-")[2])
    return " · ".join(filter(None, parts)) if dataset.name else id


def format_phase(view: RunView) -> str:
    """What the worker is doing, with its detail, on one line."""
    return one_line(": ".join(part for part in (view.phase, view.phase_detail) if part), limit=200)


def format_status(view: RunView, state: RunState) -> str:
    """What a run is doing, or how it ended, on one line."""
    match state:
        case RunState.RUNNING:
            return format_phase(view)
        case RunState.QUEUED:
            return format_phase(view) or "waiting in the queue"
        case RunState.FAILED:
            text = str(view.error.get("what") or view.error.get("error") or "")
        case RunState.CRASHED:
            text = f"the worker ended without an error after step {view.step}"
        case RunState.INTERRUPTED:
            text = f"after step {view.step}: the machine or the container was shut down"
        case RunState.STOPPED:
            text = f"at step {view.step}, by {view.result.get('by', 'somebody')}"
        case RunState.FINISHED:
            text = f"result in {view.result['result']}" if view.result.get("result") else ""
        case _:
            text = "the worker has not started yet"
    return one_line(text, limit=300)


def smoothing_window(points: int) -> int:
    """The smoothing window of a curve of so many points."""
    return max(5, points // 16)


def build_curves(view: RunView) -> RunCurves:
    """A copy of the view's curves, with the loss smoothed over about a sixteenth of the run."""
    series = view.series
    return RunCurves(
        steps=series.steps[:],
        loss=series.loss[:],
        smoothed=exponential_mean(series.loss, window=smoothing_window(len(series))),
        learning_rate=series.learning_rate[:],
        grad_norm=series.grad_norm[:],
        device_memory=series.device_memory[:],
        host_memory=series.host_memory[:],
        tokens_per_second=series.tokens_per_second[:],
        images_per_second=series.images_per_second[:],
        data_wait=series.data_wait[:],
        fields={name: values[:] for name, values in series.fields.items()},
    )


def build_detail(
    row: RunRow,
    view: RunView,
    spec: Mapping[str, Any],
    curves: RunCurves,
    *,
    now: float,
    prices: Mapping[str, Any] | None = None,
) -> RunDetail:
    """The screen's view of a run at `now` (Unix seconds). `prices`: the settings' [cost] table."""
    return RunDetail(
        row=row,
        curves=curves,
        event_number=view.last_number,
        epoch=view.epoch if view.epoch is not None and isfinite(view.epoch) else None,
        elapsed=view.elapsed_seconds(now if row.state is RunState.RUNNING else view.last_time or now),
        attempt=view.attempt,
        resumed_from=view.resumed_from,
        stop_requested=row.state is RunState.RUNNING and view.stop_requested,
        evals=tuple(view.evals),
        samples=tuple(view.samples),
        checkpoints=tuple(view.checkpoints),
        warnings=tuple(view.warnings),
        warning_count=view.warning_count,
        decisions=tuple(view.decisions),
        ranks=view.ranks,
        error=dict(view.error),
        result=dict(view.result),
        spec=spec,
        plan=dict(view.plan),
        outcome=describe_outcome(row.folder, view, row.state),
        cost=_cost_text(row, view, now, prices or {}),
        watching=tuple(one_line(text, limit=300) for text in describe_watching(row.folder.path)),
    )
