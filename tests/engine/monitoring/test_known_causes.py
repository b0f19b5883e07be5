"""Errors of libraries with a known cause are told as what they are, and bugs are not."""

import errno
from pathlib import Path

import pytest

from mg_tui.engine.batching.data_workers import raise_if_died
from mg_tui.engine.monitoring.known_causes import find_known_cause


@pytest.mark.parametrize(
    ("error", "what", "why"),
    [
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "A data worker died", "SIGKILL"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is"), "A data worker", "/dev/shm"),
        (RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"), "A data worker died", "process 7 ended"),
        (OSError(errno.ENOSPC, "No space left on device"), "cannot be written", "No space left"),
        (RuntimeError("I/O error: File too large (os error 27)"), "cannot be written", "file-size limit"),
        (OSError(errno.EROFS, "Read-only file system", "/x/y"), "cannot be written", "Read-only"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many files", "Too many open files"),
    ],
)
def test_a_known_cause_is_named_with_what_to_try(error: Exception, what: str, why: str, tmp_path: Path) -> None:
    wrapped = ValueError("a library's own words")
    wrapped.__cause__ = error
    for raised in (error, wrapped):
        found = find_known_cause(raised, tmp_path)
        assert found is not None and what in found.what and why in str(found.why)
        assert found.hint and found.exit_code == 3


def test_a_bug_stays_one(tmp_path: Path) -> None:
    assert find_known_cause(KeyError("step"), tmp_path) is None
    assert find_known_cause(FileNotFoundError(errno.ENOENT, "No such file", "x"), tmp_path) is None


def test_the_exit_code_of_a_data_worker_is_asked_where_only_its_connection_broke() -> None:
    class Process:
        pid, exitcode = 7, -9

        def join(self, seconds: float) -> None:
            assert seconds

    class Loader:
        _workers = (Process(),)

    with pytest.raises(Exception, match="A data worker died") as caught:
        raise_if_died(Loader(), ConnectionResetError())
    assert "process 7 was killed by SIGKILL" in str(caught.value)
    raise_if_died(object(), ConnectionResetError())
