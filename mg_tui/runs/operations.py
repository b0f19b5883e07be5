"""User operations on runs, for all front ends: each checks, acts and returns its result; none prints.

Operations on the queue order are in `mg_tui.runs.queue`: `queue_position`, `move_to_position`, `set_held`,
`cancel_queued`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mg_tui.core.errors import UsageError
from mg_tui.runs import control, devices, launch, queue
from mg_tui.runs.device_request import expand_request, requested_or_default_devices, write_process_count
from mg_tui.runs.elsewhere import elsewhere_of
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.resume import ResumeTarget, commit_resume_target, find_resume_target
from mg_tui.runs.state import RunState
from mg_tui.runs.watch import RunWatch
from mg_tui.runs.watch_request import with_secrets

if TYPE_CHECKING:
    from mg_tui.core.spec import TrainingSpec


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run that was started or queued: its requested devices, and the number of queued runs before it."""

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
    """A new run from an old one's spec: the spec, and the base folder of relative image paths."""

    spec: "TrainingSpec"
    cwd: Path


def start_or_queue(
    folder: RunFolder,
    by: str,
    *,
    gpus: Sequence[str] | None = None,
    in_queue: bool = False,
    processes: int | None = None,
    prepare: Callable[[], None] | None = None,
) -> StartedRun:
    """Start a run's worker, or put the run into the queue.

    Args:
        folder: the run, new (`launch.create_run`) or to be resumed.
        by: the requester: `control.requester(face)`.
        gpus: the devices to use, by name (`devices.parse_devices`); by default those of before, else the default.
        in_queue: add it to the queue.
        processes: how many a training run has from now on, whatever its spec says.
        prepare: called with the run's lock held, before it is started or queued; see `launch.start_worker`.

    Raises:
        RunFailed: it is running.
        EnvironmentProblem: it cannot be started, or this machine has no such device.
    """
    given = prepare

    def prepare_start() -> None:
        if given is not None:
            given()
        if processes is not None:
            write_process_count(folder, processes)

    requested = tuple(gpus or requested_or_default_devices(folder, folder.spec_values()))
    available = devices.find_devices()
    devices.require_devices(requested, available)
    requested = expand_request(folder, requested, available, processes)
    if not in_queue:
        launch.start_worker(folder, gpus, prepare=prepare_start)
        return StartedRun(folder, None if gpus is None else tuple(gpus))
    queue.enqueue(folder, requested, by, prepare=prepare_start)
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
    processes: int | None = None,
    max_cost: float | None = None,
) -> ResumeTarget:
    """Resume a run from its newest valid checkpoint, or from the one `at` a step or `best`.

    The arguments are those of `find_resume_target` and `start_or_queue`.

    Raises:
        UsageError: it is running, queued or finished, its spec cannot be read, or it has no checkpoint.
        RunFailed, EnvironmentProblem: as `start_or_queue`.
    """
    target = find_resume_target(folder, from_start=from_start, at=at, max_cost=max_cost)
    if (elsewhere := elsewhere_of(folder)) is not None:
        elsewhere.resume(
            folder.id,
            at=at,
            from_start=from_start,
            gpus=gpus,
            queue=in_queue,
            processes=processes,
            max_cost=max_cost,
        )
        return target
    start_or_queue(
        target.folder,
        by,
        gpus=gpus,
        in_queue=in_queue,
        processes=processes,
        prepare=lambda: commit_resume_target(target, by=by),
    )
    return target


def rerun_spec(folder: RunFolder, changed: Mapping[str, Any], *, cwd: Path) -> RerunSpec:
    """The spec of a new run based on an old one. Check and start it like any other.

    Args:
        folder: the old run.
        changed: values that override the old ones, by field name; relative paths are relative to `cwd`.
        cwd: the working directory.

    Raises:
        SpecError: a value is invalid.
        UsageError: the old run has no readable spec.
    """
    from mg_tui.core.spec import TrainingSpec

    old = folder.spec_values()
    stands = {name: str(folder.spec_file) for name in old if name not in changed}
    spec = TrainingSpec.parse({**with_secrets(folder.path, old), **changed}, where=stands)
    spec = launch.with_absolute_paths(spec, cwd)
    if "base_model" in changed and "/" in spec.base_model and (cwd / spec.base_model).is_dir():
        spec = spec.model_copy(update={"base_model": str((cwd / spec.base_model).absolute())})
    watch = RunWatch(folder)
    watch.refresh()
    # Relative image paths are relative to the working directory of the old run.
    then = Path(watch.view.cwd or ".")
    return RerunSpec(spec, cwd if "dataset" in changed or not then.is_absolute() or not then.is_dir() else then)


def request_stop(folder: RunFolder, by: str, *, now: bool = False, patience: float = 5.0) -> RequestResult:
    """Request that a run saves a checkpoint and stops; a second request, or `now`, stops it at once.

    A queued run is removed from the queue. `patience`: seconds to wait for the acknowledgement.

    Raises:
        UsageError: it is neither running nor queued.
        EnvironmentProblem: the request cannot be written.
    """
    if (elsewhere := elsewhere_of(folder)) is not None:
        return RequestResult(folder, *elsewhere.stop(folder.id, now=now))
    watch = RunWatch(folder)
    watch.refresh()
    if watch.state is RunState.QUEUED:
        return RequestResult(folder, "stop", queue.cancel_queued(folder, by), queued=True)
    _require_running(watch)
    twice = watch.view.stop_requested or control.is_pending(folder, "stop")
    return _send_and_wait(folder, "stop_now" if now or twice else "stop", by, patience)


def send_stop(folder: RunFolder, by: str, *, now: bool) -> None:
    """Ask a run that is followed to stop, and wait for nothing.

    Raises:
        GardenError: the request cannot be made.
    """
    if (elsewhere := elsewhere_of(folder)) is not None:
        elsewhere.stop(folder.id, now=now)
    else:
        control.send_request(folder, "stop_now" if now else "stop", by)


def request_checkpoint(folder: RunFolder, by: str, *, patience: float = 5.0) -> RequestResult:
    """Request a checkpoint now.

    Raises:
        UsageError: it is not running.
        EnvironmentProblem: the request cannot be written.
    """
    if (elsewhere := elsewhere_of(folder)) is not None:
        return RequestResult(folder, "checkpoint", elsewhere.checkpoint(folder.id))
    watch = RunWatch(folder)
    watch.refresh()
    _require_running(watch)
    return _send_and_wait(folder, "checkpoint", by, patience)


def _send_and_wait(folder: RunFolder, request: control.RequestName, by: str, patience: float) -> RequestResult:
    return RequestResult(folder, request, control.wait_until_seen(control.send_request(folder, request, by), patience))


def _require_running(watch: RunWatch) -> None:
    if watch.state is not RunState.RUNNING:
        raise UsageError(
            f"{watch.folder.noun.capitalize()} {watch.folder.id} is not running (state: {watch.state.label})."
        )
