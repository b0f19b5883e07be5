"""What a person can ask of runs, for every face: each function checks, acts and says what happened; none prints.

What concerns a queued run's place is in `mg_tui.runs.queue`: `position`, `move`, `hold`, `cancel`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mg_tui.core.errors import UsageError
from mg_tui.runs import control, devices, launch, queue
from mg_tui.runs.device_request import requested_or_default_devices
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.resume import ResumeTarget, find_resume_target, write_resume_target
from mg_tui.runs.state import RunState
from mg_tui.runs.watch import RunWatch

if TYPE_CHECKING:
    from mg_tui.core.spec import TrainingSpec


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run that was started or queued: the devices it asked for, and how many queued runs are before it."""

    folder: RunFolder
    gpus: tuple[str, ...] | None = None
    queued: bool = False
    runs_ahead: int = 0


@dataclass(frozen=True, slots=True)
class RequestResult:
    """The answer to a request (`stop`, `stop_now`, `checkpoint`).

    Attributes:
        folder: the run.
        request: the request's name.
        acknowledged: the worker has seen it; of a queued run, it has left the queue.
        queued: the run was queued when the request was made.
    """

    folder: RunFolder
    request: str
    acknowledged: bool
    queued: bool = False


@dataclass(frozen=True, slots=True)
class RerunSpec:
    """What a new run from an old one's spec is to be: the spec, and the folder relative images are looked up in."""

    spec: "TrainingSpec"
    cwd: Path


def start_or_queue(
    folder: RunFolder, by: str, *, gpus: Sequence[str] | None = None, in_queue: bool = False
) -> StartedRun:
    """Start a run's worker, or put the run into the queue.

    Args:
        folder: the run, new (`launch.prepare`) or to be gone on with.
        by: who asks: `control.whoami(face)`.
        gpus: the devices it is to use, by name (`devices.parse`); left out, those of before, or the usual ones.
        in_queue: wait for its turn.

    Raises:
        RunFailed: it is alive.
        EnvironmentProblem: it cannot be started, or this machine has no such device.
    """
    if not in_queue:
        launch.start_worker(folder, gpus)
        return StartedRun(folder, None if gpus is None else tuple(gpus))
    requested = tuple(gpus or requested_or_default_devices(folder, folder.spec_values()))
    devices.require_devices(requested, devices.find_devices())
    queue.enqueue(folder, requested, by)
    launch.start_waiter(folder)
    position = queue.queue_position(folder)
    return StartedRun(folder, requested, queued=True, runs_ahead=0 if position is None else position - 1)


def resume_run(
    folder: RunFolder,
    by: str,
    *,
    gpus: Sequence[str] | None = None,
    in_queue: bool = False,
    from_start: bool = False,
    at: str | None = None,
) -> ResumeTarget:
    """Resume a run from its newest valid checkpoint, or from the one `at` a step or `best`.

    The arguments are those of `find_resume_target` and `start_or_queue`.

    Raises:
        UsageError: it is alive, queued, finished, its spec cannot be read, or there is nothing to go on from.
        RunFailed, EnvironmentProblem: as `start_or_queue`.
    """
    target = find_resume_target(folder, from_start=from_start, at=at)
    write_resume_target(target.folder, target)
    start_or_queue(target.folder, by, gpus=gpus, in_queue=in_queue)
    return target


def rerun_spec(folder: RunFolder, changed: Mapping[str, Any], *, cwd: Path) -> RerunSpec:
    """The spec of a new run like an old one. It is then checked and started like any other.

    Args:
        folder: the old run.
        changed: values that take the place of the old ones, by field name; paths in them are relative to `cwd`.
        cwd: the working folder.

    Raises:
        SpecError: a value cannot be used.
        UsageError: the old run has no readable spec.
    """
    from mg_tui.core.spec import TrainingSpec

    old = folder.spec_values()
    stands = {name: str(folder.spec_file) for name in old if name not in changed}
    spec = TrainingSpec.parse({**old, **changed}, where=stands)
    spec = launch.with_absolute_paths(spec, cwd)
    if "base_model" in changed and "/" in spec.base_model and (cwd / spec.base_model).is_dir():
        spec = spec.model_copy(update={"base_model": str((cwd / spec.base_model).absolute())})
    watch = RunWatch(folder)
    watch.refresh()
    # Images named relatively were found from where the old run was asked for.
    then = Path(watch.view.cwd or ".")
    return RerunSpec(spec, cwd if "dataset" in changed or not then.is_absolute() or not then.is_dir() else then)


def request_stop(folder: RunFolder, by: str, *, now: bool = False, patience: float = 5.0) -> RequestResult:
    """Ask a run to save a checkpoint and end; asked a second time, or with `now`, it ends at once.

    A queued run is taken out of the queue. `patience`: seconds to wait for the answer.

    Raises:
        UsageError: it is neither running nor queued.
        EnvironmentProblem: the request cannot be written.
    """
    watch = RunWatch(folder)
    watch.refresh()
    if watch.state is RunState.QUEUED:
        return RequestResult(folder, "stop", queue.cancel_queued(folder, by), queued=True)
    _require_running(watch)
    twice = watch.view.stop_requested or control.is_pending(folder, "stop")
    return _send_and_wait(folder, "stop_now" if now or twice else "stop", by, patience)


def request_checkpoint(folder: RunFolder, by: str, *, patience: float = 5.0) -> RequestResult:
    """Ask a run for a checkpoint now.

    Raises:
        UsageError: it is not running.
        EnvironmentProblem: the request cannot be written.
    """
    watch = RunWatch(folder)
    watch.refresh()
    _require_running(watch)
    return _send_and_wait(folder, "checkpoint", by, patience)


def _send_and_wait(folder: RunFolder, request: control.RequestName, by: str, patience: float) -> RequestResult:
    return RequestResult(folder, request, control.wait_until_seen(control.send_request(folder, request, by), patience))


def _require_running(watch: RunWatch) -> None:
    if watch.state is not RunState.RUNNING:
        raise UsageError(f"Run {watch.folder.id} is not running (state: {watch.state.label}).")
