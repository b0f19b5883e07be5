"""Who lives: the kernel knows, at once, however the holder died."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mg_tui.core.errors import EnvironmentProblem, RunFailed
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.lock import RunLock, is_held


def test_held_until_released(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_held(path)
    with RunLock(path) as lock:
        assert lock.held
        assert is_held(path)
        assert lock.acquire() is lock
    assert not is_held(path)
    lock.release()


def test_a_held_lock_is_refused(tmp_path: Path) -> None:
    with RunLock(tmp_path / "lock"), pytest.raises(RunFailed, match="already running"):
        RunLock(tmp_path / "lock").acquire(patience=0.05)


def test_asking_never_keeps_a_worker_from_starting(tmp_path: Path) -> None:
    path, over = tmp_path / "lock", threading.Event()
    path.touch()

    def ask() -> None:
        while not over.is_set():
            is_held(path)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(50):
            with RunLock(path):
                pass
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_askers_do_not_see_each_other(tmp_path: Path) -> None:
    path, answers = tmp_path / "lock", []
    path.touch()

    def ask() -> None:
        answers.append(any(is_held(path) for _ in range(500)))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [False] * 4


def test_a_killed_holder_frees_the_lock_even_with_forked_children_alive(
    folder: RunFolder, worker: Callable[..., object], until: Callable[..., None]
) -> None:
    process = worker(
        folder,
        """
started()
if os.fork() == 0:      # like a data loader's worker: it lives on when its parent is killed
    time.sleep(60)
time.sleep(60)
""",
    )
    until(lambda: b"started" in folder.journal_file.read_bytes())
    assert is_held(folder.lock_file)
    os.kill(process.pid, signal.SIGKILL)  # type: ignore[attr-defined]
    began = time.monotonic()
    until(lambda: not is_held(folder.lock_file))
    assert time.monotonic() - began < 1.0


def test_a_lock_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentProblem):
        RunLock(tmp_path / "file" / "lock").acquire()
    with pytest.raises(EnvironmentProblem):
        is_held(tmp_path / "file" / "lock")
