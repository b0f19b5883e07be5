"""Runs that ended together with their container or machine: find them, and queue them first on request."""

from pathlib import Path
from typing import Final

from mg_tui.core.errors import GardenError
from mg_tui.runs import launch, queue
from mg_tui.runs.device_request import requested_or_default_devices
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunSummary, list_runs

# Starts without a step after which a run is no longer resumed automatically: it may be what crashes the machine.
MAX_STARTS_WITHOUT_STEP: Final = 3


def find_interrupted(home: Path) -> list[RunSummary]:
    """The interrupted runs of a home, oldest first."""
    return [run for run in reversed(list_runs(home)) if run.state is RunState.INTERRUPTED]


def resume_interrupted(home: Path, by: str) -> list[RunFolder]:
    """Queue every interrupted run for resuming, before the runs already queued; returns the queued ones.

    Skipped are runs whose folder was copied from another home, whose spec or journal cannot be read, and those started
    `MAX_STARTS_WITHOUT_STEP` times without completing a step.
    """
    interrupted = [run for run in find_interrupted(home) if _is_resumable(run, home)]
    resumed = []
    for run in reversed(interrupted):  # each to the front: the oldest ends up first
        try:
            requested = requested_or_default_devices(run.folder, run.spec)
            if queue.enqueue(run.folder, requested, by, first=True, expected=RunState.INTERRUPTED):
                launch.start_waiter(run.folder)
                resumed.append(run.folder)
        except GardenError:
            continue  # another process was faster, or the folder is not writable: it stays interrupted
    return resumed[::-1]


def _is_resumable(run: RunSummary, home: Path) -> bool:
    return (
        run.problem is None
        and run.view.home in (None, str(home))
        and run.view.starts_without_step < MAX_STARTS_WITHOUT_STEP
    )
