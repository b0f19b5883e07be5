"""Run locks: an advisory lock (`flock`) that a process holds while it runs.

The kernel frees it when the holder exits for any reason, so checking it needs no heartbeat and no process id. Two traps
are handled: a forked child (a data loader worker) would keep its parent's lock, so children close their copy at once;
and checking a lock takes a shared lock for a moment, so acquiring one retries for a short time.
"""

import contextlib
import errno
import fcntl
import os
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from mg_tui.core.errors import EnvironmentProblem, RunFailed
from mg_tui.runs import heartbeat

# File descriptor of a lock that is passed to the program started by `exec`.
_INHERITED_FD_ENV: Final = "MODEL_GARDEN_LOCK_FD"
_LOCK_TIMEOUT: Final = 2.0  # seconds; checking holds the lock for microseconds
_LOCKED_ERRNOS: Final = (errno.EWOULDBLOCK, errno.EACCES)


class RunLock:
    """The lock of one run. Also a context manager."""

    def __init__(self, path: Path):
        self.path = path
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._fd is not None

    def acquire(self, *, patience: float = _LOCK_TIMEOUT) -> Self:
        """Acquire the lock, retrying for `patience` seconds; an inherited lock is adopted.

        Raises:
            RunFailed: another process holds it.
            EnvironmentProblem: the file cannot be opened, or its file system has no locks.
        """
        if self._fd is None:
            self._fd = _inherited_fd(self.path)
            register_close_on_fork(self)
        if self._fd is not None:
            return self
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise EnvironmentProblem(
                "Cannot open the run's lock file.", where=str(self.path), why=error.strerror
            ) from error
        try:
            lock_exclusive(fd, self.path, patience=patience)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        register_close_on_fork(self)
        return self

    def hand_over(self) -> dict[str, str]:
        """Keep the lock across `exec`; returns the environment variables the next program needs to adopt it."""
        assert self._fd is not None
        os.set_inheritable(self._fd, True)
        return {_INHERITED_FD_ENV: str(self._fd)}

    def for_child(self) -> tuple[dict[str, str], tuple[int, ...]]:
        """What a started process needs to adopt the lock: environment variables, and file descriptors to pass.

        The lock is held until both have released it.
        """
        assert self._fd is not None
        return {_INHERITED_FD_ENV: str(self._fd)}, (self._fd,)

    def beat(self) -> None:
        """Show that the holder responds; see `mg_tui.runs.heartbeat`."""
        if self._fd is not None:
            heartbeat.beat(self._fd)

    @property
    def in_place(self) -> bool:
        """Whether the locked file is still the one at `path`: false once its folder was moved, removed or replaced."""
        try:
            return self._fd is None or os.path.samestat(os.fstat(self._fd), self.path.stat())
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:  # a disk that does not answer
            return True

    def release(self) -> None:
        """Release the lock; may be called twice."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def close_after_fork(self) -> None:
        """In a forked child: close the parent's lock without releasing it for the parent."""
        self.release()

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()


def _inherited_fd(path: Path) -> int | None:
    """The inherited file descriptor of the lock at `path`, or None."""
    try:
        fd = int(os.environ[_INHERITED_FD_ENV])
        if not os.path.samestat(os.fstat(fd), path.stat()):
            return None
    except (KeyError, ValueError, OSError):
        return None
    del os.environ[_INHERITED_FD_ENV]
    os.set_inheritable(fd, False)
    return fd


def is_held(path: Path | str) -> bool:
    """Whether a running process holds the lock at `path`. A missing file is a free lock.

    Raises:
        EnvironmentProblem: the file exists and cannot be checked.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise EnvironmentProblem("Cannot read the run's lock.", where=str(path), why=error.strerror) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _LOCKED_ERRNOS:
            return True
        raise _locks_unsupported(path, error) from error
    finally:
        os.close(fd)
    return False


def lock_exclusive(fd: int, path: Path, *, patience: float = _LOCK_TIMEOUT) -> None:
    """`flock` an open file of a run exclusively, retrying for `patience` seconds.

    Raises:
        RunFailed: another process holds it.
        EnvironmentProblem: the file system has no locks.
    """
    if not flock_exclusive(fd, path, timeout=patience):
        raise RunFailed(
            "Another worker is already running this run.",
            where=str(path),
            hint="follow it with `model-garden runs watch`",
        )


def flock_exclusive(fd: int, path: Path, *, timeout: float) -> bool:
    """`flock` the open file `fd` of `path` exclusively, retrying for `timeout` seconds; returns whether it is locked.

    Raises:
        EnvironmentProblem: the file system has no locks.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in _LOCKED_ERRNOS:
                raise _locks_unsupported(path, error) from error
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)


def _locks_unsupported(path: Path | str, error: OSError) -> EnvironmentProblem:
    return EnvironmentProblem(
        "The file system does not support file locks.",
        where=str(path),
        why=error.strerror,
        hint="use a home folder on a local disk (`--home`)",
    )


_close_on_fork: "weakref.WeakSet[object]" = weakref.WeakSet()


def register_close_on_fork(holder: object) -> None:
    """Call `holder.close_after_fork()` in every child that this process forks while `holder` exists."""
    _close_on_fork.add(holder)


def _close_registered() -> None:
    for holder in list(_close_on_fork):
        with contextlib.suppress(OSError):
            holder.close_after_fork()  # type: ignore[attr-defined]


os.register_at_fork(after_in_child=_close_registered)
