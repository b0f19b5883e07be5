"""The worker of a server; as `mg_tui.engine.evaluation.worker` is that of an evaluation.

Whatever happens becomes one lifecycle event and an exit code.
"""

import os
import socket
import sys
import traceback
from pathlib import Path

from mg_tui.config import load_settings
from mg_tui.core.errors import GardenError
from mg_tui.core.text import first_line
from mg_tui.engine.monitoring.final_event import write_failure, write_final_event
from mg_tui.engine.monitoring.known_causes import to_known_error
from mg_tui.engine.monitoring.run_history import read_run_history
from mg_tui.engine.monitoring.scratch import scratch_folder
from mg_tui.engine.monitoring.stopping import StopHandler, StopRequested
from mg_tui.engine.serving.job import ServeJob
from mg_tui.runs.devices import DeviceLocks
from mg_tui.runs.heartbeat import HEARTBEAT_SECONDS
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lifetime import current_lifetime
from mg_tui.runs.lock import RunLock
from mg_tui.runs.servers import ServerFolder
from mg_tui.runs.versions import package_versions


def run_worker(path: Path) -> int:
    """Run a server until it is stopped; returns the exit code."""
    folder = ServerFolder(path.absolute())
    try:
        with RunLock(folder.lock_file) as lock, JournalWriter(folder.journal_file) as journal, scratch_folder():
            return _run(folder, journal, lock)
    except GardenError as error:  # no lock, or no journal to write it into
        sys.stderr.write(f"{error}\n")
        return error.exit_code


def _run(folder: ServerFolder, journal: JournalWriter, lock: RunLock) -> int:
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
    job: ServeJob | None = None
    with StopHandler(folder, journal, lock) as stopper:
        try:
            settings = load_settings(home=folder.home, cwd=history.cwd)  # the home is where the server lies
            job = ServeJob(folder, journal, stopper, cwd=history.cwd, home=folder.home, cache=settings.cache)
            job.run()
        except StopRequested as stopped:
            stopper.poll(raise_on="never")
            answered = job.requests if job is not None else 0
            write_final_event(journal, "stopped", requests=answered, by=stopper.stop_by or stopped.by)
            return 0
        except Exception as error:
            if not isinstance(error, GardenError):
                traceback.print_exc()
            known = to_known_error(error, folder, lock)
            if known is not None:
                return write_failure(journal, known.as_dict(), known.exit_code)
            kind, why = type(error).__name__, first_line(error)[:500]
            what = "out of memory" if isinstance(error, MemoryError) else f"the server failed with an unexpected {kind}"
            hint = "the log has the traceback; please report it"
            record = {"error": kind, "what": what, "where": str(folder.log_file), "why": why, "hint": hint}
            return write_failure(journal, record, 1)
    return 0
