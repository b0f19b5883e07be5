"""The step a worker is doing, noted beside the journal: a process that is killed in the middle cannot say it any more.

One small file, written over at every step and never synced: it is for the death of a process, not of a machine.
"""

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mg_tui.runs.folder import RunFolder

STEP_FILE: Final = "step.json"
_MAX_ROWS, _MAX_IMAGES = 64, 16  # kept of a large step


@dataclass(frozen=True, slots=True)
class CurrentStep:
    """A step (from 1), the rows of the dataset file it learns from, and their images as the dataset has them."""

    step: int
    rows: tuple[int, ...] = ()
    images: tuple[str, ...] = ()


class CurrentStepWriter:
    """The worker's side."""

    def __init__(self, folder: RunFolder):
        self._path = folder.path / STEP_FILE
        self._fd = -1

    def write(self, step: int, rows: Sequence[int], images: Sequence[str]) -> None:
        """Note the step that begins. A disk without room is no reason to end a run."""
        note = {"step": step, "rows": rows[:_MAX_ROWS], "images": images[:_MAX_IMAGES]}
        with contextlib.suppress(OSError):
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            data = json.dumps(note).encode()
            os.ftruncate(self._fd, os.pwrite(self._fd, data, 0))

    def close(self) -> None:
        """Close the file; doing so twice is fine."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def read_current_step(folder: RunFolder) -> CurrentStep | None:
    """The step that was begun last; None when there is no readable note."""
    try:
        record = json.loads((folder.path / STEP_FILE).read_bytes())
        return CurrentStep(int(record["step"]), tuple(map(int, record["rows"])), tuple(map(str, record["images"])))
    except (OSError, ValueError, TypeError, KeyError):
        return None
