"""The journal of a run: one JSON object per line, numbered from 1 without gaps, append-only.

Writing. One process writes (it holds a lock on the file); each event is one `write` to a file opened for appending, so
readers see complete lines or a torn last one. When the disk is full, the written part is truncated again and the number
is not used: the file only has complete events. A torn last line left by a crashed machine is moved to a side file when
the journal is reopened, with a warning event.

Reading is in `mg_tui.runs.journal_reader`.
"""

import contextlib
import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.core.events import CHECKSUM_FIELD, KINDS, Event
from mg_tui.core.files import explain_failed_write
from mg_tui.runs.journal_reader import JournalReader, read_span
from mg_tui.runs.lock import lock_exclusive, register_close_on_fork

__all__ = ["SYNCED_KINDS", "JournalReader", "JournalWriter"]

# Events that must survive a power loss are synced before the writer continues.
SYNCED_KINDS: Final = frozenset(
    {
        "created",
        "spec_accepted",
        "queued",
        "started",
        "finished",
        "stopped",
        "failed",
        "checkpoint",
        "checkpoint_removed",
        "request",
    }
)
_RESERVED_FIELDS: Final = frozenset({"v", "n", "t", CHECKSUM_FIELD})


class JournalWriter:
    """The one writer of a journal. A context manager; numbering continues after reopening.

    Raises:
        RunFailed: another process is writing this journal.
        EnvironmentProblem: the file cannot be opened or locked.
    """

    def __init__(self, path: Path):
        self.path = path
        self.last_number = 0
        self._writing = threading.RLock()  # a watchdog writes too
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise EnvironmentProblem("Cannot open the journal.", where=str(path), why=error.strerror) from error
        try:
            lock_exclusive(self._fd, path)
            self._pid = os.getpid()
            register_close_on_fork(self)
            torn = self._cut_torn_line()
            self.last_number = _last_number(self._fd, self._size)
            if torn:
                self.write(
                    "warning",
                    what="The last line of the journal was incomplete and has been moved aside.",
                    where=str(self.torn_file),
                    why="the writing process or the machine died while writing it",
                )
        except BaseException:
            self.close()
            raise

    @property
    def torn_file(self) -> Path:
        """Torn lines are moved to this file."""
        return self.path.with_name(self.path.name + ".torn")

    def write(self, kind: str, /, **data: Any) -> Event:
        """Append one event and return it; thread-safe.

        Raises:
            ValueError: an unknown kind, or a reserved field name.
            EnvironmentProblem: it could not be written; the journal is unchanged.
        """
        if kind not in KINDS:
            raise ValueError(f"unknown event kind {kind!r}; expected one of {', '.join(KINDS)}")
        if clash := _RESERVED_FIELDS & data.keys():
            raise ValueError(f"reserved event field name: {', '.join(sorted(clash))}")
        if self._fd < 0 or os.getpid() != self._pid:
            raise ValueError("the journal is closed or owned by the parent process")
        with self._writing:
            event = Event(n=self.last_number + 1, t=time.time(), kind=kind, data=data)
            self._append(event.to_line().encode("utf-8", "surrogatepass"))
            self.last_number = event.n
        if kind in SYNCED_KINDS:
            self.sync()
        return event

    def sync(self) -> None:
        """Flush everything written to the disk.

        Raises:
            EnvironmentProblem: fsync failed.
        """
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise self._problem(error) from error

    def close(self) -> None:
        """Close the file and release its lock; may be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def close_after_fork(self) -> None:
        """In a forked child: close the parent's journal."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _append(self, line: bytes) -> None:
        try:
            self._restore()
            written = os.write(self._fd, line)
            while written < len(line):  # a nearly full disk accepts part of a line
                written += os.write(self._fd, line[written:])
        except OSError as error:
            with contextlib.suppress(OSError):  # retried before the next line
                self._restore()
            raise self._problem(error) from error
        self._size += len(line)

    def _restore(self) -> None:
        """Truncate a partial line that a failed write left."""
        if os.fstat(self._fd).st_size > self._size:
            os.ftruncate(self._fd, self._size)

    def _problem(self, error: OSError) -> EnvironmentProblem:
        why, hint = _write_reason(error, self.path.parent)
        return EnvironmentProblem("Cannot write the journal.", where=str(self.path), why=why, hint=hint)

    def _cut_torn_line(self) -> bool:
        """Move everything after the last newline to the side file; sets the size of the complete lines."""
        end = os.fstat(self._fd).st_size
        self._size = _after_last_newline(self._fd, end)
        if self._size == end:
            return False
        try:
            with self.torn_file.open("ab") as side:
                side.write(read_span(self._fd, self._size, end) + b"\n")
                side.flush()
                os.fsync(side.fileno())
            os.ftruncate(self._fd, self._size)
        except OSError as error:
            raise self._problem(error) from error
        return True


def _write_reason(error: OSError, folder: Path) -> tuple[str | None, str | None]:
    with contextlib.suppress(OSError):  # a folder that is gone
        return explain_failed_write(error, folder) or (error.strerror, None)
    return error.strerror, None


def _after_last_newline(fd: int, end: int) -> int:
    while end > 0:
        start = max(0, end - (64 << 10))
        cut = read_span(fd, start, end).rfind(b"\n")
        if cut >= 0:
            return start + cut + 1
        end = start
    return 0


def _last_number(fd: int, end: int) -> int:
    """The number of the last line: that of the last readable event, plus one per broken line after it."""
    broken = 0
    while end > 0:
        start = _after_last_newline(fd, end - 1)
        try:
            return Event.from_line(read_span(fd, start, end - 1)).n + broken
        except (ValueError, OverflowError, RecursionError):
            broken += 1
            end = start
    return broken
