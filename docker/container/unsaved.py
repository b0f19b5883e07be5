"""What a run loses if it is killed now: read from its journal, without the package."""

import contextlib
import json
import os
from pathlib import Path
from typing import NamedTuple

TAIL_BYTES = 1 << 20  # of the journal: thousands of steps


class Progress(NamedTuple):
    """The last step, and the last step with a whole checkpoint; 0 before the first."""

    step: int
    saved: int


def read_progress(run: Path) -> Progress:
    """A run's progress by the end of its journal.

    Args:
        run: folder of the run.
    """
    step = saved = 0
    with contextlib.suppress(OSError), (run / "events.jsonl").open("rb") as journal:
        journal.seek(max(0, os.fstat(journal.fileno()).st_size - TAIL_BYTES))
        for line in journal:
            with contextlib.suppress(ValueError, TypeError, AttributeError):
                event = json.loads(line)
                if event.get("kind") == "step":
                    step = int(event["step"])
                elif event.get("kind") == "checkpoint":
                    saved = int(event["step"])
    return Progress(max(step, saved), saved)


def describe(run: Path) -> str:
    """One sentence: what is lost if the run is killed before its checkpoint is whole."""
    step, saved = read_progress(run)
    lost = step - saved
    steps = f"{lost} steps are" if lost != 1 else "1 step is"
    if saved:
        return f"{run.name}: if it is killed now, it resumes from step {saved} and {steps} lost"
    return f"{run.name}: if it is killed now, it has no checkpoint and {steps} lost"
