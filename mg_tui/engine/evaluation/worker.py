"""The worker of an evaluation; as `mg_tui.engine.run.worker` is that of a run.

Whatever happens becomes one lifecycle event and an exit code; answers that were given are on the disk by then.
"""

import os
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from mg_tui.config import load_settings
from mg_tui.core.errors import GardenError
from mg_tui.core.text import first_line
from mg_tui.engine.evaluation.job import EvaluationJob
from mg_tui.engine.monitoring.final_event import write_failure, write_final_event
from mg_tui.engine.monitoring.known_causes import to_known_error
from mg_tui.engine.monitoring.run_history import read_run_history
from mg_tui.engine.monitoring.scratch import scratch_folder
from mg_tui.engine.monitoring.stopping import StopHandler, StopRequested
from mg_tui.runs.devices import DeviceLocks
from mg_tui.runs.evaluations import EvaluationFolder
from mg_tui.runs.heartbeat import HEARTBEAT_SECONDS
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lifetime import current_lifetime
from mg_tui.runs.lock import RunLock
from mg_tui.runs.versions import package_versions


def run_worker(path: Path) -> int:
    """Run or resume an evaluation; returns the exit code."""
    folder = EvaluationFolder(path.absolute())
    try:
        with RunLock(folder.lock_file) as lock, JournalWriter(folder.journal_file) as journal, scratch_folder():
            return _run(folder, journal, lock)
    except GardenError as error:  # no lock, or no journal to write it into
        sys.stderr.write(f"{error}\n")
        return error.exit_code


def _run(folder: EvaluationFolder, journal: JournalWriter, lock: RunLock) -> int:
    history = read_run_history(folder)
    home = folder.path.parent.parent
    locks = DeviceLocks(home)  # held for as long as this process lives
    journal.write(
        "started",
        pid=os.getpid(),
        host=socket.gethostname(),
        attempt=history.attempts + 1,
        resumed_from=None,
        home=str(home),
        lifetime=current_lifetime().as_dict(),
        heartbeat=HEARTBEAT_SECONDS,
        versions=package_versions(),
    )
    if shared := locks.adopt():
        journal.write("warning", what=shared)
    job: EvaluationJob | None = None
    with StopHandler(folder, journal, lock) as stopper:
        try:
            settings = load_settings(home=home, cwd=history.cwd)  # the home is where the evaluation lies
            job = EvaluationJob(folder, journal, stopper, cwd=history.cwd, home=home, cache=settings.cache)
            result = job.run()
        except StopRequested as stopped:
            stopper.poll(raise_on="never")
            reached = job.answered if job is not None else 0
            write_final_event(journal, "stopped", step=reached, checkpoint=None, by=stopper.stop_by or stopped.by)
            return 0
        except Exception as error:
            if not isinstance(error, GardenError):
                traceback.print_exc()
            known = to_known_error(error, folder, lock)
            described, code = (_describe(folder, error), 1) if known is None else (known.as_dict(), known.exit_code)
            return write_failure(journal, described, code)
    write_final_event(journal, "finished", **result)
    return 0


def _describe(folder: EvaluationFolder, error: Exception) -> dict[str, Any]:
    """An error that is none of ours."""
    why = first_line(error)[:500]
    payload = {"error": type(error).__name__, "where": str(folder.log_file), "why": why}
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError) or "can't allocate memory" in why:
        hint = "lower --batch-size, or use --quantization nf4"
        return {**payload, "what": "out of memory", "hint": hint, "cause": "no memory"}
    what = f"the evaluation failed with an unexpected {type(error).__name__}"
    return {**payload, "what": what, "hint": "the log has the traceback; please report it"}
