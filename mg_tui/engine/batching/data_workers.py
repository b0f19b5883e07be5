"""Data workers that died: one error for it, however it is noticed. Does not import torch."""

import re
import signal
from typing import Any, Final

from mg_tui.core.errors import EnvironmentProblem

_EXIT_SECONDS: Final = 1.0  # seconds in which a process that has closed its connections ends

# What torch's SIGCHLD handler raises, in whatever code the main thread is.
_KILLED: Final = re.compile(r"DataLoader worker \(pid(?:\(s\))? (\d+).*?\) (?:is killed by signal: ([\w ]+)|exited)")


def raise_if_died(loader: Any, error: Exception) -> None:
    """Raise EnvironmentProblem when an error of a data loader's iterator comes from the death of one of its processes.

    torch does not always notice: of a process that is killed while it hands over a batch, only the broken connection
    is seen. How it ended shows in its exit code, a moment later.
    """
    for process in getattr(loader, "_workers", ()):
        process.join(_EXIT_SECONDS)
        if process.exitcode:
            raise _died(process.pid, -process.exitcode if process.exitcode < 0 else None) from error


def find_death(text: str) -> EnvironmentProblem | None:
    """The error that a message of torch stands for, or None."""
    found = _KILLED.search(text)
    if found is None:
        return None
    names = {signal.strsignal(number): number for number in signal.valid_signals()}
    return _died(int(found[1]), names.get(found[2]) if found[2] else None)


def _died(pid: int, number: int | None) -> EnvironmentProblem:
    if number == signal.SIGBUS:
        return EnvironmentProblem(
            "A data worker died.",
            why="shared memory (/dev/shm) is full",
            hint="enlarge it (docker run --shm-size=8g), or use --workers 0; then resume the run",
        )
    how = f"was killed by {signal.Signals(number).name}" if number else "ended"
    return EnvironmentProblem(
        "A data worker died.",
        why=f"process {pid} {how}" + ("; usually the kernel, for lack of memory" if number == signal.SIGKILL else ""),
        hint="free memory, or lower workers or max_pixels; then resume the run",
    )
