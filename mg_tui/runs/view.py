"""RunView: a journal folded into what front ends show. Pure: no files, no clock, no lock."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from mg_tui.core.events import Event
from mg_tui.runs.lifetime import Lifetime
from mg_tui.runs.records import (
    Decision,
    LossEvaluation,
    RankState,
    RunWarning,
    Sample,
    SavedCheckpoint,
    optional_int,
    optional_text,
    read_ranks,
)
from mg_tui.runs.series import Series, to_float
from mg_tui.runs.state import RunState

__all__ = ["Decision", "LossEvaluation", "RunView", "RunWarning", "Sample", "SavedCheckpoint"]

MAX_RECORDS: Final = 1_000  # stored warnings, evaluations and samples; older warnings are only counted
ENDS: Final = frozenset({"finished", "stopped", "failed"})  # the kinds of event that end an attempt
_LIFECYCLE_KINDS: Final = frozenset({"created", "queued", "started"}) | ENDS
# Written by front ends too, days after a run's end: they say nothing of how long its worker lived.
NOT_OF_THE_WORKER: Final = frozenset({"spec_accepted", "checkpoint_removed"})


class RunView:
    """The state of a run according to its events so far. `apply` adds events incrementally.

    Attributes:
        name: the run's name, or None; `cwd`: the working directory of its creation.
        spec_digest, spec_values: of the spec the run was created with, or of the changed one that was accepted.
        lifecycle: the newest lifecycle kind (created, started, ...), or None before the first.
        pid, host, attempt, resumed_from, home, lifetime, has_heartbeat: of the newest `started`.
        starts_without_step: how often it was started since its last step.
        phase, phase_detail: the worker's current phase.
        step, total_steps, epoch: progress; `total_steps` is None until planned.
        latest_step: the newest step event's fields.
        series: the curves, thinned beyond some thousand points.
        plan, result, error: the data of the newest `plan`, `finished` or `stopped`, and `failed`; empty when none.
        evals, samples, checkpoints, warnings, decisions: in order; `warning_count` counts every warning.
        ranks: how the training processes were last, where there are several.
        requests: requests the worker has read; `stop_requested`: a stop is among those of this attempt.
        skipped_rows: number of skipped rows.
        energy_j, gpu_seconds: GPU usage of all attempts together; None where unknown.
        created_at, started_at, ended_at: Unix time in seconds, or None; `started_at` is the first start.
        earlier_seconds: seconds of the attempts before the newest.
    """

    def __init__(self, *, all_fields: bool = False) -> None:
        """`all_fields`: keep every number of the step events, see `Series`."""
        self.name: str | None = None
        self.lifecycle: str | None = None
        self.last_number = 0
        self.last_time: float | None = None
        self.versions: Mapping[str, str] = {}
        self.spec_digest: str | None = None
        self.spec_values: Mapping[str, Any] = {}
        self.cwd: str | None = None
        self.pid: int | None = None
        self.host: str | None = None
        self.home: str | None = None
        self.lifetime: Mapping[str, Any] = {}
        self.has_heartbeat = False
        self.starts_without_step = 0
        self.attempt = 0
        self.resumed_from: int | None = None
        self.phase: str | None = None
        self.phase_detail: str | None = None
        self.step = 0
        self.total_steps: int | None = None
        self.epoch: float | None = None
        self.latest_step: Mapping[str, Any] = {}
        self.series = Series(all_fields=all_fields)
        self.plan: Mapping[str, Any] = {}
        self.result: Mapping[str, Any] = {}
        self.error: Mapping[str, Any] = {}
        self.evals: deque[LossEvaluation] = deque(maxlen=MAX_RECORDS)
        self.samples: deque[Sample] = deque(maxlen=MAX_RECORDS)
        self.warnings: deque[RunWarning] = deque(maxlen=MAX_RECORDS)
        self.warning_count = 0
        self.checkpoints: list[SavedCheckpoint] = []
        self.decisions: list[Decision] = []
        self.ranks: tuple[RankState, ...] = ()
        self.requests: deque[Mapping[str, Any]] = deque(maxlen=MAX_RECORDS)
        self.stop_requested = False
        self.skipped_rows = 0
        self.energy_j: float | None = None
        self.gpu_seconds: float | None = None
        self.created_at: float | None = None
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.earlier_seconds = 0.0
        self._attempt_began: float | None = None
        self._recent: deque[tuple[float, int]] = deque(maxlen=64)

    @property
    def best(self) -> SavedCheckpoint | None:
        """The checkpoint with the lowest evaluation loss, as the run chose it; None when none was chosen."""
        return next((saved for saved in reversed(self.checkpoints) if saved.best), None)

    @property
    def loss(self) -> float | None:
        """The newest step's loss; None before the first step."""
        return to_float(self.latest_step["loss"]) if "loss" in self.latest_step else None

    def state(self, lock_held: bool, lifetime: Lifetime | None = None) -> RunState:
        """The run's state: "started" with a free lock is a crash; a queued run may have no waiting process.

        With `lifetime`, a run that ended together with another boot or container is interrupted.
        """
        if self.lifecycle in (None, "created"):
            return RunState.RUNNING if lock_held else RunState.CREATED
        if self.lifecycle == "started" and lock_held:
            return RunState.RUNNING
        if self.interruption_reason(lifetime) is not None:
            return RunState.INTERRUPTED
        return RunState.CRASHED if self.lifecycle == "started" else RunState(str(self.lifecycle))

    def interruption_reason(self, lifetime: Lifetime | None) -> str | None:
        """Why a run without a running worker counts as interrupted, in words; None when it does not."""
        # Shutting down a machine or container sends SIGTERM to all its processes.
        terminated = self.lifecycle == "stopped" and self.result.get("by") == "signal SIGTERM"
        if lifetime is None or not (terminated or self.lifecycle == "started"):
            return None
        return lifetime.since(self.lifetime)

    def eta_seconds(self, now: float) -> float | None:
        """Seconds until the last step at the pace of the last few dozen steps; None when unknown."""
        if self.lifecycle != "started" or self.total_steps is None or len(self._recent) < 2:
            return None
        (first_time, first_step), (last_time, last_step) = self._recent[0], self._recent[-1]
        if last_time <= first_time or last_step <= first_step:
            return None
        pace = (last_time - first_time) / (last_step - first_step)
        left = max(self.total_steps - last_step, 0) * pace
        return max(left - max(now - last_time, 0.0), 0.0)

    def elapsed_seconds(self, now: float) -> float | None:
        """Seconds of all attempts together, the newest to its end or to `now`; None before the start."""
        if self.started_at is None:
            return None
        if self._attempt_began is None:
            return self.earlier_seconds
        return self.earlier_seconds + max(
            (self.ended_at if self.ended_at is not None else now) - self._attempt_began, 0.0
        )

    def apply(self, events: Iterable[Event]) -> None:
        """Apply more events; events already applied, by number, are skipped."""
        for event in events:
            if event.n <= self.last_number:
                continue
            self.last_number = event.n
            if event.kind in _LIFECYCLE_KINDS:
                self.lifecycle = event.kind
                if event.kind in ("started", "queued"):
                    self._end_attempt()
            if event.kind not in NOT_OF_THE_WORKER:
                self.last_time = event.t
            handler = _HANDLERS.get(event.kind)
            if handler is not None:
                handler(self, event.t, event.data)
            if "gpu_seconds" in event.data:
                self._update_usage(event.data)

    def _created(self, t: float, data: Mapping[str, Any]) -> None:
        self.created_at = t
        self.name = optional_text(data.get("name"))
        self._spec_accepted(t, data)
        self.cwd = optional_text(data.get("cwd"))
        self._versions(data)

    def _spec_accepted(self, t: float, data: Mapping[str, Any]) -> None:
        self.spec_digest = optional_text(data.get("spec_digest"))
        self.spec_values = data["spec"] if isinstance(data.get("spec"), dict) else {}

    def _end_attempt(self) -> None:
        """A new attempt begins: the previous one lasted until its end, or the last event of a worker that died."""
        began, self._attempt_began = self._attempt_began, None
        until = self.last_time if self.ended_at is None else self.ended_at
        if began is not None and until is not None:
            self.earlier_seconds += max(until - began, 0.0)

    def _versions(self, data: Mapping[str, Any]) -> None:
        if isinstance(data.get("versions"), dict):
            self.versions = data["versions"]

    def _queued(self, t: float, data: Mapping[str, Any]) -> None:
        self.ended_at = self.phase = self.phase_detail = None
        self.error, self.result = {}, {}
        self.stop_requested = False

    def _started(self, t: float, data: Mapping[str, Any]) -> None:
        self.pid = optional_int(data.get("pid"))
        self.host = optional_text(data.get("host"))
        self.attempt = optional_int(data.get("attempt")) or self.attempt + 1
        self.resumed_from = optional_int(data.get("resumed_from"))
        self.home = optional_text(data.get("home"))
        self.has_heartbeat = bool(data.get("heartbeat"))
        self.lifetime = data["lifetime"] if isinstance(data.get("lifetime"), dict) else {}
        self.starts_without_step += 1
        self._versions(data)
        self._attempt_began = t
        if self.started_at is None:
            self.started_at = t
        self.ended_at = None
        self.phase = self.phase_detail = None
        self.error = {}
        self.result = {}
        self.ranks = ()
        self.stop_requested = False
        self._recent.clear()
        if self.attempt > 1:
            self._rewind_to(self.resumed_from or 0)

    def _rewind_to(self, step: int) -> None:
        """Drop everything after the checkpoint a run resumed from: it is repeated."""
        self.step = min(self.step, step)
        self.series.forget_after(step)
        self.evals = deque((e for e in self.evals if e.step <= step), maxlen=MAX_RECORDS)
        self.samples = deque((s for s in self.samples if s.step <= step), maxlen=MAX_RECORDS)

    def _ended(self, t: float, data: Mapping[str, Any]) -> None:
        self.ended_at = t
        self.result = data
        self.phase = self.phase_detail = None
        self.step = optional_int(data.get("steps", data.get("step"))) or self.step

    def _failed(self, t: float, data: Mapping[str, Any]) -> None:
        self.ended_at = t
        self.error = data

    def _phase(self, t: float, data: Mapping[str, Any]) -> None:
        self.phase = optional_text(data.get("name"))
        self.phase_detail = optional_text(data.get("detail"))

    def _plan(self, t: float, data: Mapping[str, Any]) -> None:
        self.plan = data
        self.total_steps = optional_int(data.get("steps"))

    def _step(self, t: float, data: Mapping[str, Any]) -> None:
        step = optional_int(data.get("step"))
        if step is None:
            return
        if self.lifecycle in ("queued", "finished", "stopped", "failed"):
            self.lifecycle = "started"  # its own event is in a part of the journal that was passed over
            self.ended_at = None
        self.step = step
        self.starts_without_step = 0
        self.epoch = to_float(data["epoch"]) if "epoch" in data else self.epoch
        self.latest_step = data
        self.series.add(step, t, data)
        self._recent.append((t, step))

    def _update_usage(self, data: Mapping[str, Any]) -> None:
        if "energy_j" in data:
            self.energy_j = to_float(data["energy_j"])
        self.gpu_seconds = to_float(data["gpu_seconds"])

    def _ranks(self, t: float, data: Mapping[str, Any]) -> None:
        self.ranks = read_ranks(data.get("ranks"))

    def _eval(self, t: float, data: Mapping[str, Any]) -> None:
        self.evals.append(LossEvaluation.from_event(data))

    def _checkpoint(self, t: float, data: Mapping[str, Any]) -> None:
        saved = SavedCheckpoint.from_event(data)
        self.checkpoints = [*(c for c in self.checkpoints if c.path != saved.path), saved]

    def _checkpoint_removed(self, t: float, data: Mapping[str, Any]) -> None:
        self.checkpoints = [c for c in self.checkpoints if c.path != data.get("path")]

    def _sample(self, t: float, data: Mapping[str, Any]) -> None:
        self.samples.append(Sample.from_event(data))

    def _decision(self, t: float, data: Mapping[str, Any]) -> None:
        self.decisions.append(Decision(str(data.get("what", "")), data.get("value"), str(data.get("why", ""))))

    def _warning(self, t: float, data: Mapping[str, Any]) -> None:
        self.warning_count += 1
        where, why, hint = (optional_text(data.get(name)) for name in ("where", "why", "hint"))
        notice = RunWarning(t, str(data.get("what", "")), where, why, hint)
        if self.warnings and replace(self.warnings[-1], t=t, times=1) == notice:
            notice = replace(notice, times=self.warnings.pop().times + 1)
        self.warnings.append(notice)

    def _rows_skipped(self, t: float, data: Mapping[str, Any]) -> None:
        self.skipped_rows = optional_int(data.get("count")) or 0

    def _request(self, t: float, data: Mapping[str, Any]) -> None:
        self.requests.append({"t": t, **data})
        self.stop_requested = self.stop_requested or data.get("request") in ("stop", "stop_now")


_HANDLERS: Final = {
    "created": RunView._created,
    "spec_accepted": RunView._spec_accepted,
    "queued": RunView._queued,
    "started": RunView._started,
    "finished": RunView._ended,
    "stopped": RunView._ended,
    "failed": RunView._failed,
    "phase": RunView._phase,
    "plan": RunView._plan,
    "step": RunView._step,
    "ranks": RunView._ranks,
    "eval": RunView._eval,
    "checkpoint": RunView._checkpoint,
    "checkpoint_removed": RunView._checkpoint_removed,
    "sample": RunView._sample,
    "decision": RunView._decision,
    "warning": RunView._warning,
    "rows_skipped": RunView._rows_skipped,
    "request": RunView._request,
}
