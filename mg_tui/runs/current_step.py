"""The step a worker is currently running, in a file next to the journal, for the error report of a killed process.

One small file, overwritten at every step and never synced: it survives the death of the process, not of the machine.
"""

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mg_tui.runs.folder import RunFolder

STEP_FILE: Final = "step.json"
_MAX_ROWS, _MAX_IMAGES = 64, 16  # recorded of a large step


@dataclass(frozen=True, slots=True)
class CurrentStep:
    """A step (from 1), its rows of the dataset file, and their images as written in the dataset."""

    step: int
    rows: tuple[int, ...] = ()
    images: tuple[str, ...] = ()


class CurrentStepWriter:
    """The worker's side."""

    def __init__(self, folder: RunFolder):
        self._path = folder.path / STEP_FILE
        self._fd = -1

    def write(self, step: int, rows: Sequence[int], images: Sequence[str]) -> None:
        """Record the step that begins. A full disk must not end a run."""
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
    """The last step that began; None when there is no readable record."""
    try:
        record = json.loads((folder.path / STEP_FILE).read_bytes())
        return CurrentStep(int(record["step"]), tuple(map(int, record["rows"])), tuple(map(str, record["images"])))
    except (OSError, ValueError, TypeError, KeyError):
        return None
