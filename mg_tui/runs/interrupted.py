"""Runs that ended together with their container or machine: found, and on request put at the front of the queue."""

from pathlib import Path
from typing import Final

from mg_tui.core.errors import GardenError
from mg_tui.runs import launch, queue
from mg_tui.runs.device_request import requested_or_default_devices
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunSummary, list_runs

# Starts without a step in between after which a run is no longer resumed by itself: it may be what ended the machine.
MAX_STARTS_WITHOUT_STEP: Final = 3


def find_interrupted(home: Path) -> list[RunSummary]:
    """The interrupted runs of a home, oldest first."""
    return [run for run in reversed(list_runs(home)) if run.state is RunState.INTERRUPTED]


def resume_interrupted(home: Path, by: str) -> list[RunFolder]:
    """Queue every interrupted run to go on, before those that were queued already; returns those that will.

    Left alone are runs whose folder was copied here, whose spec or data cannot be read, and those that were started
    `MAX_STARTS_WITHOUT_STEP` times without coming as far as a step.
    """
    interrupted = [run for run in find_interrupted(home) if _is_resumable(run, home)]
    resumed = []
    for run in reversed(interrupted):  # each to the front: the oldest comes to be the first
        try:
            requested = requested_or_default_devices(run.folder, run.spec)
            if queue.enqueue(run.folder, requested, by, first=True, expected=RunState.INTERRUPTED):
                launch.start_waiter(run.folder)
                resumed.append(run.folder)
        except GardenError:
            continue  # another face was quicker, or its folder cannot be written to: it stays interrupted, and shown
    return resumed[::-1]


def _is_resumable(run: RunSummary, home: Path) -> bool:
    return (
        run.problem is None
        and run.view.home in (None, str(home))
        and run.view.starts_without_step < MAX_STARTS_WITHOUT_STEP
    )
