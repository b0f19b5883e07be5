"""Processes that outlive their starter and its terminal."""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

# A shell in between, because a signal that is ignored stays ignored across `exec`, and because running Python code
# between fork and exec can hang a process that has threads, which the dashboard is.
_DETACH_COMMAND: Final = ("/bin/sh", "-c", "trap '' HUP; exec \"$@\"", "model-garden")


class DetachedProcess(subprocess.Popen[bytes]):
    """A process that outlives this object and this process."""

    def __del__(self) -> None:
        """Popen would warn about a process that is still running, which is intended."""


def start_detached(
    command: Sequence[str],
    *,
    log: IO[bytes],
    cwd: Path,
    environ: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
) -> DetachedProcess:
    """Start a command in a session of its own, without standard input, writing to `log`; it ignores SIGHUP.

    Args:
        environ: the environment; by default that of this process.
        descriptors: file descriptors that it inherits.

    Raises:
        OSError: it cannot be started.
    """
    with _usual_scheduling():
        return DetachedProcess(
            [*_DETACH_COMMAND, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=cwd,
            env={**(os.environ if environ is None else environ), "PYTHONUNBUFFERED": "1"},
            pass_fds=descriptors,
        )


def give_way() -> None:
    """Let this thread, and those that it starts, interrupt no other process when they have something to do.

    A training step is as slow as the slowest of its threads: a server on the same cores that answers between them, and
    not in the middle, costs a run much less. What `start_detached` starts is scheduled as usual.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


@contextlib.contextmanager
def _usual_scheduling() -> Iterator[None]:
    """Children inherit how the thread that starts them is scheduled."""
    if not hasattr(os, "SCHED_BATCH") or os.sched_getscheduler(0) != os.SCHED_BATCH:
        yield
        return
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    try:
        yield
    finally:
        give_way()
