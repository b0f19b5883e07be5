"""A step after which a run saves a checkpoint and stops by itself: `pause.json` in its folder.

Sweeps write it, so that runs can be compared after the same number of steps whether or not anybody watches them. The
run is not changed by it: it is resumed as after any other stop.
"""

import contextlib
import json
from dataclasses import dataclass
from typing import Final

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.core.files import write_atomic
from mg_tui.runs.folder import RunFolder

_PAUSE_FILE: Final = "pause.json"


@dataclass(frozen=True, slots=True)
class Pause:
    """The step after which a run stops, and who asked for it: the `by` of its `stopped` event."""

    step: int
    by: str


def write_pause(folder: RunFolder, pause: Pause | None) -> None:
    """Say after which step a run stops; None removes it. Its worker reads it when it starts.

    Raises:
        EnvironmentProblem: it cannot be written.
    """
    path = folder.path / _PAUSE_FILE
    try:
        if pause is None:
            path.unlink(missing_ok=True)
        else:
            write_atomic(path, (json.dumps({"step": pause.step, "by": pause.by}) + "\n").encode())
    except OSError as error:
        raise EnvironmentProblem("The run folder is not writable.", where=str(path), why=error.strerror) from error


def read_pause(folder: RunFolder) -> Pause | None:
    """The step after which a run stops; None when there is none, or the file cannot be read."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        record = json.loads((folder.path / _PAUSE_FILE).read_bytes())
        return Pause(int(record["step"]), str(record["by"]))
    return None
