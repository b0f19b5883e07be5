"""The heartbeat of a worker: whether a process that holds a run's lock still responds.

A held lock says that the process exists, not that it does anything: it may be suspended (SIGSTOP), hang in the kernel,
or be unable to write because its file system became read-only. A worker therefore sets the modification time of its
lock file every `HEARTBEAT_SECONDS`, from a thread. Workers whose `started` event says nothing of a heartbeat are of
older versions and have none.
"""

import contextlib
import os
import socket
from pathlib import Path
from typing import Final

HEARTBEAT_SECONDS: Final = 2.0  # seconds between two beats
SILENT_AFTER: Final = 15.0  # seconds without one that count as not responding; a busy disk may delay some


def seconds_silent(lock_file: Path, now: float) -> float | None:
    """Seconds since the last beat if that is too long ago, else None. `now` is Unix time."""
    try:
        seconds = now - lock_file.stat().st_mtime
    except OSError:
        return None
    return seconds if seconds >= SILENT_AFTER else None


def describe_silence(seconds: float) -> str:
    """ "not responding for 42 s" """
    return f"not responding for {seconds:.0f} s"


def explain_silence(pid: int | None, host: str | None) -> str:
    """Why the worker does not respond, as far as it can be seen from here, and what to try."""
    if pid is not None and host == socket.gethostname():
        with contextlib.suppress(OSError, IndexError):
            # After the command's name, which may contain anything but ends with the last parenthesis: the state.
            status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            state = status.rpartition(")")[2].split()[0]
            if state in ("T", "t"):
                return f"the process is suspended; `kill -CONT {pid}` continues it"
            if state == "D":
                return "the process waits for a disk or a device that does not answer"
    return "it hangs, its file system cannot be written, or the machine is suspended or overloaded"


def beat(fd: int) -> None:
    """Set the modification time of the open lock file; a file system that cannot be written is left to say so."""
    with contextlib.suppress(OSError):
        os.utime(fd)
