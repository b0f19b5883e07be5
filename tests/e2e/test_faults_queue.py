"""The queue under faults: waiting processes started twice at once and killed, with workers that are small scripts.

That no device ever has two runs is seen by the workers themselves: each makes a folder named for its device, which
fails when the folder is there.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mg_tui.core.spec import TrainingSpec
from mg_tui.runs import launch, queue
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader
from mg_tui.runs.state import RunState
from mg_tui.runs.store import summarize_run

pytestmark = pytest.mark.timeout(600)

WORKER_SCRIPT = """
import os, sys, time
from pathlib import Path
from mg_tui.runs.devices import DeviceLocks
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
folder = RunFolder(Path(sys.argv[1]))
home = folder.path.parent.parent
names = [pair.split(":")[0] for pair in os.environ["MODEL_GARDEN_DEVICE_FDS"].split(",")]
lock, journal, devices = RunLock(folder.lock_file).acquire(), JournalWriter(folder.journal_file), DeviceLocks(home)
devices.adopt()
for name in names:
    (home / f"busy-{name}").mkdir()
journal.write("started", pid=os.getpid(), host="h", attempt=1, resumed_from=None)
time.sleep(0.1)
for name in names:
    (home / f"busy-{name}").rmdir()
journal.write("finished", steps=0)
"""
WAITER_SCRIPT = """
import sys
from mg_tui.runs import launch, waiter
from mg_tui.runs.devices import Device
launch.worker_command = lambda folder: (sys.executable, WORKER, str(folder.path))
launch.waiter_command = lambda folder: (sys.executable, __file__, str(folder.path))
waiter.main(lambda: [Device(str(n)) for n in range(DEVICES)], poll=0.05)
"""
STARTER_SCRIPT = """
import sys, time
from pathlib import Path
from mg_tui.core.errors import RunFailed
from mg_tui.runs import launch, queue
launch.waiter_command = lambda folder: (sys.executable, WAITER, str(folder.path))
while time.time() < float(sys.argv[2]):
    pass
def start(folder):
    try:
        launch.start_waiter(folder)
    except RunFailed:
        pass  # the other was quicker
queue.restart_waiters(Path(sys.argv[1]), start)
"""


class QueueHome:
    """A home with queued runs, and what starts them."""

    def __init__(self, base: Path, devices: int):
        self.home = base / "home"
        self.worker, self.waiter, self.starter = (base / name for name in ("worker.py", "waiter.py", "starter.py"))
        self.worker.write_text(WORKER_SCRIPT)
        self.waiter.write_text(WAITER_SCRIPT.replace("WORKER", repr(str(self.worker))).replace("DEVICES", str(devices)))
        self.starter.write_text(STARTER_SCRIPT.replace("WAITER", repr(str(self.waiter))))

    def queue(self, *wishes: str) -> list[RunFolder]:
        """Queue a run for each wish."""
        folders = []
        for wish in wishes:
            folder = RunFolder.create(self.home, TrainingSpec(base_model="tiny", dataset="/data/rows.jsonl"))
            queue.enqueue(folder, tuple(wish.split(",")), "a test")
            folders.append(folder)
        return folders

    def start(self, times: int) -> None:
        """Start the queue so often at the same moment."""
        at = str(time.time() + 0.7)
        command = [sys.executable, str(self.starter), str(self.home), at]
        for process in [subprocess.Popen(command) for _ in range(times)]:
            assert process.wait() == 0

    def waiting(self) -> list[int]:
        """The process ids of the waiting processes."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if str(self.waiter).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found

    def kill(self) -> None:
        """Leave nobody behind."""
        while pids := self.waiting():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Callable[[int], QueueHome]]:
    """Makes a shop with so many devices."""
    made: list[QueueHome] = []

    def make(devices: int) -> QueueHome:
        made.append(QueueHome(tmp_path, devices))
        return made[-1]

    yield make
    for one in made:
        one.kill()


def assert_each_ran_once(folders: list[RunFolder], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not all(summarize_run(folder).state.ended for folder in folders):
        assert time.monotonic() < deadline, [summarize_run(folder).state for folder in folders]
        time.sleep(0.05)
    for folder in folders:
        assert summarize_run(folder).state is RunState.FINISHED, folder.log_file.read_text()
        kinds = [event.kind for event in JournalReader(folder.journal_file).read_new()]
        assert kinds.count("started") == kinds.count("finished") == 1


def start_twice_at_once(shop: Callable[[int], QueueHome], devices: int) -> None:
    made = shop(devices)
    folders = made.queue("any", "any", "0", "any")
    made.start(2)
    assert_each_ran_once(folders)


@pytest.mark.parametrize("devices", [1, 2])
def test_the_queue_started_twice_at_once(shop: Callable[[int], QueueHome], devices: int) -> None:
    start_twice_at_once(shop, devices)


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(20))
def test_the_queue_started_twice_at_once_often(shop: Callable[[int], QueueHome], attempt: int) -> None:
    start_twice_at_once(shop, 1 + attempt % 2)


def kill_waiters(shop: Callable[[int], QueueHome], seed: int) -> None:
    """Waiting processes are killed at random moments, some while they become workers; then the queue is woken."""
    chance, made = random.Random(seed), shop(1)
    folders = made.queue("any", "any", "any")
    made.start(1)
    for _ in range(4):
        time.sleep(chance.uniform(0, 0.4))
        if pids := made.waiting():
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(pids), signal.SIGKILL)
    for _ in range(20):
        made.start(1)
        if all(summarize_run(folder).state.ended for folder in folders):
            break
        time.sleep(0.2)
    assert_each_ran_once(folders)


def test_waiting_processes_killed(shop: Callable[[int], QueueHome]) -> None:
    kill_waiters(shop, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_waiting_processes_killed_often(shop: Callable[[int], QueueHome], seed: int) -> None:
    kill_waiters(shop, seed)


def test_the_programs_own_commands(tmp_path: Path) -> None:
    """The waiting process that is really started, up to the engine that it becomes."""
    folder = RunFolder.create(tmp_path, TrainingSpec(base_model="tiny", dataset=str(tmp_path / "none.jsonl")))
    queue.enqueue(folder, ("cpu",), "a test")
    pid = launch.start_waiter(folder)
    deadline = time.monotonic() + 60
    while not summarize_run(folder).state.ended:
        assert time.monotonic() < deadline, folder.log_file.read_text()
        time.sleep(0.1)
    found = summarize_run(folder)
    assert (found.state, found.view.pid) == (RunState.FAILED, pid)
    assert "none.jsonl" in str(found.view.error)
    assert [decision.value for decision in found.view.decisions][:1] == ["the CPU"]
