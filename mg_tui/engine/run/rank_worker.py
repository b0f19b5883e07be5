"""The process of a rank that does not lead: it does its share of every step, and writes nothing but notes of itself."""

import sys
import traceback
from pathlib import Path
from typing import Any

from mg_tui.config import load_settings
from mg_tui.core.errors import GardenError
from mg_tui.core.events import Event
from mg_tui.core.text import first_line
from mg_tui.engine.layout.partition import World
from mg_tui.engine.monitoring.known_causes import find_known_cause
from mg_tui.engine.monitoring.rank_health import RankHealth
from mg_tui.engine.monitoring.run_history import read_run_history
from mg_tui.engine.monitoring.scratch import scratch_folder
from mg_tui.engine.monitoring.stopping import SilentStopHandler
from mg_tui.engine.run.rank_supervisor import BROKEN_EXIT, die_with_parent
from mg_tui.runs import checkpoint_format
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.ranks import RankNotes
from mg_tui.runs.resume import read_resume_step


class SilentJournal(JournalWriter):
    """Takes what rank 0 writes to the journal, and forgets it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last_number = 0

    def write(self, kind: str, /, **data: Any) -> Event:
        return Event(n=0, t=0.0, kind=kind, data=data)

    def close(self) -> None:
        pass


def run_rank(path: Path, world: World) -> int:
    """Do a rank's share of a run; returns the exit code."""
    die_with_parent()
    folder = RunFolder(path.absolute())
    with RankHealth(folder.path, world.rank) as health, scratch_folder():
        return _run(folder, world, health)


def _run(folder: RunFolder, world: World, health: RankHealth) -> int:
    from mg_tui.engine.run.distributed import ConnectionLost
    from mg_tui.engine.run.training import TrainingRun

    notes = RankNotes(folder.path)
    try:
        resume_from, _damaged = checkpoint_format.newest_valid(folder.checkpoints_dir, until=read_resume_step(folder))
        history = read_run_history(folder)
        settings = load_settings(home=folder.home, cwd=history.cwd)
        journal = SilentJournal(folder.journal_file)
        with SilentStopHandler(folder, journal) as stopper:
            TrainingRun(folder, journal, stopper, settings, history.cwd, resume_from, history, health).run()
    except ConnectionLost as error:
        sys.stderr.write(f"the connection to the other training processes was lost: {first_line(error)}\n")
        return BROKEN_EXIT
    except Exception as error:
        known = error if isinstance(error, GardenError) else find_known_cause(error, folder.path)
        if known is None:
            traceback.print_exc()
            what = f"unexpected error: {type(error).__name__}"
            why, where = first_line(error)[:500], str(notes.log_file(world.rank))
            record: dict[str, Any] = {"error": type(error).__name__, "what": what, "where": where, "why": why}
        else:
            record = {
                **known.as_dict(),
                **{n: getattr(known, n) for n in ("step", "rows", "cause") if hasattr(known, n)},
            }
        notes.write_error(world.rank, record)
        return 1
    return 0
