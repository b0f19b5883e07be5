"""What people do with sweeps, for all front ends: each checks, acts and returns its result; none prints."""

import contextlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mg_tui.core.errors import EnvironmentProblem, GardenError, RunFailed, UsageError
from mg_tui.runs import annotations, launch, operations
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.lock import RunLock
from mg_tui.runs.pause import Pause
from mg_tui.runs.remove import remove_run
from mg_tui.runs.state import RunState
from mg_tui.runs.sweeps.combinations import describe_values
from mg_tui.runs.sweeps.driver import resume_run, start_driver
from mg_tui.runs.sweeps.folder import Sweep, SweepFolder, sweep_folder
from mg_tui.runs.sweeps.standing import Standing, SweepWatch, has_driver


@dataclass(frozen=True, slots=True)
class StartedSweep:
    """A sweep that was started; `again`: it was there already, and continues. `resumed`: runs queued again."""

    folder: SweepFolder
    again: bool = False
    resumed: tuple[RunFolder, ...] = ()


def find_same_sweep(home: Path, name: str, asked: str) -> SweepFolder | None:
    """The sweep of this name when the same was asked of it; None when there is none of the name.

    Raises:
        UsageError: another sweep has the name.
    """
    folder = sweep_folder(home, name)
    if not folder.sweep_file.exists():
        return None
    if folder.read().asked != asked:
        raise UsageError(
            f"There is a sweep {name} already, with other options.",
            where=str(folder.path),
            hint=f"give another --name, or `model-garden sweeps rm {name}`",
        )
    return folder


def start_sweep(sweep: Sweep, settings: launch.RunSettings) -> StartedSweep:
    """Create a sweep's runs and start its driver. Everything has been checked before.

    Raises:
        GardenError: a file or folder cannot be written; what was created is found by `resume_sweep`.
    """
    folder = sweep_folder(settings.home, sweep.name)
    folder.write(replace(sweep, created_at=sweep.created_at or time.time()))
    create_runs(folder, settings)
    start_driver(folder)
    return StartedSweep(folder)


def create_runs(folder: SweepFolder, settings: launch.RunSettings) -> None:
    """Create the runs of a sweep that are not there yet, unless all have been there once.

    Raises:
        GardenError: one cannot be created.
    """
    from mg_tui.core.spec import TrainingSpec

    sweep, state = folder.read(), folder.read_state()
    if state.created:
        return
    for run in sweep.runs:
        if folder.run_folder(run).path.exists():
            continue
        spec = TrainingSpec.parse(run.spec, where=str(folder.sweep_file))
        created = launch.create_run(spec, settings, cwd=Path(sweep.cwd), run_id=run.id)
        annotations.set_tags(created, (sweep.name,))
        annotations.set_note(created, describe_values(run.values)[: annotations.MAX_NOTE])
    folder.write_state(replace(state, created=True))


def resume_sweep(folder: SweepFolder, settings: launch.RunSettings, *, failed: bool = False) -> StartedSweep:
    """Continue a sweep: create runs that are missing, queue the stopped ones, and start the driver.

    Args:
        failed: also resume runs that failed.

    Raises:
        GardenError: nothing could be started.
    """
    watch = SweepWatch(folder)
    create_runs(folder, settings)
    folder.stop_file.unlink(missing_ok=True)
    standings = watch.refresh()
    rungs = watch.sweep.rungs
    decided = len(watch.state.kept)
    pause = Pause(rungs[decided].after, watch.sweep.by) if decided < len(rungs) else None
    resumed = []
    for standing in standings:
        if _is_resumable(watch, standing, failed=failed):
            with contextlib.suppress(GardenError):  # it cannot be: the table says how it stands
                resume_run(standing.folder, watch.sweep, pause)
                resumed.append(standing.folder)
    if watch.state.done and resumed:
        folder.write_state(replace(watch.state, done=False))
    if resumed or not watch.state.done:
        start_driver(folder)
    return StartedSweep(folder, again=True, resumed=tuple(resumed))


def _is_resumable(watch: SweepWatch, standing: Standing, *, failed: bool) -> bool:
    if watch.state.dropped_at(standing.run.number) is not None or standing.paused:
        return False
    wanted = {RunState.STOPPED, RunState.CRASHED, RunState.INTERRUPTED} | ({RunState.FAILED} if failed else set())
    return standing.state in wanted


def stop_sweep(folder: SweepFolder, by: str) -> list[RunFolder]:
    """Stop a sweep: its driver ends, its running runs save a checkpoint and stop, queued ones leave the queue.

    Returns the runs that were asked to stop.

    Raises:
        EnvironmentProblem: its folder cannot be written.
    """
    watch = SweepWatch(folder)
    try:
        folder.stop_file.touch()
    except OSError as error:
        raise EnvironmentProblem("Cannot stop the sweep.", where=str(folder.path), why=error.strerror) from error
    _wait_for_driver(folder)
    stopped = []
    for standing in watch.refresh():
        if standing.state in (RunState.RUNNING, RunState.QUEUED):
            with contextlib.suppress(UsageError):  # it has just ended
                operations.request_stop(standing.folder, by)
                stopped.append(standing.folder)
    return stopped


def _wait_for_driver(folder: SweepFolder, seconds: float = 10.0) -> None:
    """Wait until the driver has seen that it is to end, so that it queues nothing after this."""
    deadline = time.monotonic() + seconds
    while has_driver(folder) and time.monotonic() < deadline:
        time.sleep(0.05)


def remove_sweep(folder: SweepFolder, *, with_runs: bool = False) -> list[RunFolder]:
    """Remove a sweep, and with `with_runs` move its runs to the trash; returns the removed runs.

    Raises:
        UsageError: one of its runs is running or queued.
        EnvironmentProblem: it cannot be removed.
    """
    watch = SweepWatch(folder)
    standings = watch.refresh()
    busy = [each for each in standings if each.state in (RunState.RUNNING, RunState.QUEUED)]
    if busy:
        raise UsageError(
            f"Sweep {folder.name} has runs that are running or queued.",
            where=", ".join(each.run.id for each in busy[:3]),
            hint=f"model-garden sweeps stop {folder.name}",
        )
    removed = _remove_runs(standings) if with_runs else []
    try:
        folder.stop_file.touch()
        with RunLock(folder.lock_file).acquire(patience=5.0):
            shutil.rmtree(folder.path)
    except RunFailed:
        raise UsageError(f"The driver of sweep {folder.name} still runs.", hint="try again in a few seconds") from None
    except OSError as error:
        raise EnvironmentProblem("Cannot remove the sweep.", where=str(folder.path), why=error.strerror) from error
    return removed


def _remove_runs(standings: Sequence[Standing]) -> list[RunFolder]:
    folders = [each.folder for each in standings if each.state is not None]
    for folder in folders:
        remove_run(folder)
    return folders
