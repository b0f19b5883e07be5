"""The worker of everything detached but a run: an evaluation, a server, a job; a run's is `mg_tui.engine.run.worker`.

Whatever happens becomes one lifecycle event and an exit code.
"""

import os
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from mg_tui.config import load_settings
from mg_tui.core.errors import GardenError
from mg_tui.core.text import first_line
from mg_tui.engine.monitoring.final_event import write_failure, write_final_event
from mg_tui.engine.monitoring.known_causes import to_known_error
from mg_tui.engine.monitoring.run_history import read_run_history
from mg_tui.engine.monitoring.scratch import scratch_folder
from mg_tui.engine.monitoring.stopping import StopHandler, StopRequested
from mg_tui.runs.devices import DeviceLocks
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.heartbeat import HEARTBEAT_SECONDS
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lifetime import current_lifetime
from mg_tui.runs.lock import RunLock
from mg_tui.runs.versions import package_versions


class DetachedWork(Protocol):
    """What a worker does."""

    def run(self) -> Mapping[str, Any]:
        """Do it; returns what the journal's last event says.

        Raises:
            GardenError: what is wrong, for a person.
            StopRequested: somebody asked it to stop.
        """

    def describe_stop(self) -> Mapping[str, Any]:
        """What `stopped` says beside who requested it."""


def run_detached(folder: RunFolder, make: Callable[..., DetachedWork], *, memory_hint: str | None = None) -> int:
    """Do the work of a folder; returns the exit code.

    Args:
        folder: of the work.
        make: called with folder, journal and stop handler, and by name `cwd`, `home` and `cache`.
        memory_hint: what to try when memory was not enough.
    """
    folder = type(folder)(folder.path.absolute())
    try:
        with RunLock(folder.lock_file) as lock, JournalWriter(folder.journal_file) as journal, scratch_folder():
            return _run(folder, make, memory_hint, journal, lock)
    except GardenError as error:  # no lock, or no journal to write it into
        sys.stderr.write(f"{error}\n")
        return error.exit_code


def _run(
    folder: RunFolder,
    make: Callable[..., DetachedWork],
    memory_hint: str | None,
    journal: JournalWriter,
    lock: RunLock,
) -> int:
    history = read_run_history(folder)
    locks = DeviceLocks(folder.home)  # held for as long as this process lives
    journal.write(
        "started",
        pid=os.getpid(),
        host=socket.gethostname(),
        attempt=history.attempts + 1,
        resumed_from=None,
        home=str(folder.home),
        lifetime=current_lifetime().as_dict(),
        heartbeat=HEARTBEAT_SECONDS,
        versions=package_versions(),
    )
    if shared := locks.adopt():
        journal.write("warning", what=shared)
    work: DetachedWork | None = None
    with StopHandler(folder, journal, lock) as stopper:
        try:
            settings = load_settings(home=folder.home, cwd=history.cwd)  # the home is where the folder lies
            work = make(folder, journal, stopper, cwd=history.cwd, home=folder.home, cache=settings.cache)
            result = work.run()
        except StopRequested as stopped:
            stopper.poll(raise_on="never")
            facts = work.describe_stop() if work is not None else {}
            write_final_event(journal, "stopped", **facts, by=stopper.stop_by or stopped.by)
            return 0
        except Exception as error:
            if not isinstance(error, GardenError):
                traceback.print_exc()
            known = to_known_error(error, folder, lock)
            if known is not None:
                return write_failure(journal, known.as_dict(), known.exit_code)
            return write_failure(journal, _describe(folder, error, memory_hint), 1)
    write_final_event(journal, "finished", **result)
    return 0


def _describe(folder: RunFolder, error: Exception, memory_hint: str | None) -> dict[str, Any]:
    """An error that is none of ours."""
    kind, why = type(error).__name__, first_line(error)[:500]
    record = {"error": kind, "where": str(folder.log_file), "why": why}
    if kind == "OutOfMemoryError" or isinstance(error, MemoryError) or "can't allocate memory" in why:
        return {**record, "what": "out of memory", "hint": memory_hint, "cause": "no memory"}
    what = f"the {folder.noun} failed with an unexpected {kind}"
    return {**record, "what": what, "hint": "the log has the traceback; please report it"}
