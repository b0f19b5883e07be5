"""`python -m mg_tui.runs.sweeps.driver <sweep folder>`: queues the runs of a sweep and compares them.

It may be killed at any time: whatever it decided is in `state.json` before it acts on it, and what it did is in the
journals of the runs. Every front end starts another one, as it does with waiting processes.
"""

import contextlib
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from mg_tui.core.errors import EnvironmentProblem, GardenError, RunFailed
from mg_tui.runs import launch, operations, queue
from mg_tui.runs.detached import start_detached
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.lock import RunLock
from mg_tui.runs.pause import Pause, write_pause
from mg_tui.runs.resume import commit_resume_target, find_resume_target
from mg_tui.runs.state import RunState
from mg_tui.runs.sweeps.decisions import next_actions
from mg_tui.runs.sweeps.folder import Sweep, SweepFolder, list_sweeps
from mg_tui.runs.sweeps.standing import Standing, SweepWatch, has_driver

PROGRAM: Final = "mg_tui.runs.sweeps.driver"
POLL_SECONDS: Final = 1.0
_ATTEMPTS: Final = 5  # to queue a run, before it counts as over: its folder is broken
_LOOKS_BEFORE_WAKING: Final = 5  # with a queued run that has no process: its starter may be about to start one


class SweepDriver:
    """The driver of one sweep."""

    def __init__(self, folder: SweepFolder, poll: float = POLL_SECONDS):
        self.folder = folder
        self._poll = poll
        self._watch = SweepWatch(folder)
        self._orphaned = 0
        self._refused: Counter[int] = Counter()  # by run: failures in a row to queue it
        self._said: str | None = None

    def run(self) -> int:
        """Drive the sweep until it is over or stopped; returns the exit code.

        Raises:
            RunFailed: another driver runs.
        """
        with RunLock(self.folder.lock_file).acquire(patience=1.0):
            while not self.folder.stop_file.exists() and self.folder.sweep_file.exists():
                try:
                    if self.advance():
                        return 0
                except GardenError as error:  # a full or missing disk: it may come back
                    self._log(str(error))
                time.sleep(self._poll)
        return 0

    def advance(self) -> bool:
        """Do what is to be done now; returns whether the sweep is over."""
        standings = self._watch.refresh()
        state = self._watch.state
        lost = {number for number, times in self._refused.items() if times >= _ATTEMPTS}
        actions = next_actions(self._watch.sweep, state, standings, lost)
        if actions.state.kept != state.kept:  # decided before anything is done about it
            self.folder.write_state(replace(actions.state, done=False))
        for standing in actions.start:
            self._act(standing, queue_run, actions.pause)
        for standing in actions.resume:
            self._act(standing, resume_run, actions.pause)
        self._wake(standings)
        if actions.state.done:
            self.folder.write_state(actions.state)
        return actions.state.done

    def _act(
        self, standing: Standing, act: Callable[[RunFolder, Sweep, Pause | None], None], pause: Pause | None
    ) -> None:
        """Do something with a run; somebody else may have been quicker, or its folder is broken: others continue."""
        try:
            act(standing.folder, self._watch.sweep, pause)
            self._refused.pop(standing.run.number, None)
        except GardenError as error:
            self._refused[standing.run.number] += 1
            self._log(f"run {standing.run.number}: {error}")

    def _wake(self, standings: tuple[Standing, ...]) -> None:
        """Start the waiting processes that died, where none is left that would."""
        orphaned = any(each.state is RunState.QUEUED and not each.has_process for each in standings)
        self._orphaned = self._orphaned + 1 if orphaned else 0
        if self._orphaned >= _LOOKS_BEFORE_WAKING:
            self._orphaned = 0
            with contextlib.suppress(GardenError):
                queue.restart_waiters(self.folder.home, launch.start_waiter)

    def _log(self, text: str) -> None:
        if text != self._said:
            self._said = text
            sys.stderr.write(f"{text}\n")


def queue_run(folder: RunFolder, sweep: Sweep, pause: Pause | None) -> None:
    """Add a new run of a sweep to the queue. Raises as `operations.start_or_queue`."""
    operations.start_or_queue(
        folder, sweep.by, gpus=sweep.gpus or None, in_queue=True, prepare=lambda: write_pause(folder, pause)
    )


def resume_run(folder: RunFolder, sweep: Sweep, pause: Pause | None) -> None:
    """Add a run that has ended to the queue, to be resumed from its newest checkpoint or from the start.

    Raises:
        GardenError: see `operations.resume_run`.
    """
    target = find_resume_target(folder, from_start=True)

    def prepare() -> None:
        commit_resume_target(target)
        write_pause(folder, pause)

    operations.start_or_queue(folder, sweep.by, gpus=sweep.gpus or None, in_queue=True, prepare=prepare)


def start_driver(folder: SweepFolder) -> int:
    """Start the driver of a sweep, detached from the terminal; returns its process id. A second one ends at once.

    Raises:
        EnvironmentProblem: it cannot be started.
    """
    command = (sys.executable, "-P", "-m", PROGRAM, str(folder.path.absolute()))
    try:
        with folder.log_file.open("ab") as log:
            return start_detached(command, log=log, cwd=folder.path).pid
    except OSError as error:
        raise EnvironmentProblem(
            "Cannot start the sweep's driver.", where=str(folder.path), why=error.strerror
        ) from error


def restart_drivers(home: Path) -> list[SweepFolder]:
    """Start the drivers that ended before their sweeps were over; returns those sweeps."""
    restarted = []
    for folder in list_sweeps(home):
        state = folder.read_state()
        if state.created and not state.done and not folder.stop_file.exists():
            with contextlib.suppress(GardenError):
                if not has_driver(folder):
                    start_driver(folder)
                    restarted.append(folder)
    return restarted


def main() -> None:
    """Drive the sweep named on the command line."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m mg_tui.runs.sweeps.driver <sweep folder>\n")
        sys.exit(2)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        code = SweepDriver(SweepFolder(Path(sys.argv[1]).absolute())).run()
    except RunFailed:
        code = 0  # another one drives it already
    except GardenError as error:
        sys.stderr.write(f"{error}\n")
        code = error.exit_code
    sys.exit(code)


if __name__ == "__main__":
    main()
