"""The queue with real waiting processes, whose workers are small scripts keeping to the worker's rules."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs import devices, launch, queue
from mg_tui.runs.device_request import read_requested_devices
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader, JournalWriter
from mg_tui.runs.lock import RunLock, is_held
from mg_tui.runs.state import RunState
from mg_tui.runs.watch import RunWatch

# A worker's body: what it says is how it ends. `alone` fails when another worker has one of its devices.
WORKER_SCRIPT = """
devices = DeviceLocks(folder.path.parent.parent)
handed = os.environ.get("MODEL_GARDEN_DEVICE_FDS", "")
devices.adopt()
names = [pair.split(":")[0] for pair in handed.split(",") if pair]
marks = [folder.path.parent.parent / f"busy-{name}" for name in names]
for mark in marks:
    mark.mkdir()  # fails when it is there
started()
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
time.sleep(float((folder.path / "seconds").read_text()))
while (folder.path / "wait").exists():
    time.sleep(0.02)
for mark in marks:
    mark.rmdir()
journal.write("failed", what="as it was told", exit_code=1) if (folder.path / "fail").exists() else None
journal.write("finished", steps=0) if not (folder.path / "fail").exists() else None
"""

Make = Callable[..., RunFolder]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def make(home: Path) -> Make:
    """Makes a run, queued unless told otherwise."""

    def one(name: str, gpus: str = "any", seconds: float = 0.3, *, add: bool = True) -> RunFolder:
        folder = RunFolder.create(home, TrainingSpec(base_model="tiny", dataset="/data/rows.jsonl", name=name))
        (folder.path / "seconds").write_text(str(seconds))
        if add:
            queue.enqueue(folder, devices.parse_devices(gpus), "a test")
        return folder

    return one


@pytest.fixture
def waiters(tmp_path: Path, prelude: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Have waiting processes see these devices (a Python list), and become small scripts instead of the engine."""
    worker, waiter = tmp_path / "worker.py", tmp_path / "waiter.py"
    worker.write_text(prelude + "from mg_tui.runs.devices import DeviceLocks\n" + WORKER_SCRIPT)
    pids: list[int] = []

    def see(here: str) -> None:
        waiter.write_text(f"""
import sys
from mg_tui.runs import launch, waiter
from mg_tui.runs.devices import Device
launch.worker_command = lambda folder: (sys.executable, {str(worker)!r}, str(folder.path))
launch.waiter_command = lambda folder: (sys.executable, __file__, str(folder.path))
assert "torch" not in sys.modules and "pydantic" not in sys.modules
waiter.main(lambda: {here}, poll=0.05)
""")

    def command(folder: RunFolder) -> tuple[str, ...]:
        return (sys.executable, str(waiter), str(folder.path))

    monkeypatch.setattr(launch, "waiter_command", command)
    original = launch.start_waiter

    def start(folder: RunFolder) -> int:
        pids.append(original(folder))
        return pids[-1]

    monkeypatch.setattr(launch, "start_waiter", start)
    see('[Device("cpu")]')
    yield see
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def read_state(folder: RunFolder) -> RunState:
    watch = RunWatch(folder)
    watch.refresh()
    return watch.state


def event_kinds(folder: RunFolder) -> list[str]:
    return [event.kind for event in JournalReader(folder.journal_file).read_new()]


def start_and_end(folder: RunFolder) -> tuple[float, float]:
    """When the worker started and ended."""
    events = JournalReader(folder.journal_file).read_new()
    found = {event.kind: event.t for event in events}
    return found["started"], found.get("finished", found.get("failed", 0.0))


def test_they_run_in_order_and_one_that_fails_stops_nobody(
    make: Make, waiters: Callable[[str], None], until: Callable[..., None]
) -> None:
    runs = [make("a"), make("b"), make("c")]
    (runs[1].path / "fail").touch()
    assert [read_state(run) for run in runs] == [RunState.QUEUED] * 3
    for run in reversed(runs):  # whoever comes first, the order is what counts
        launch.start_waiter(run)
    until(lambda: all(is_held(run.lock_file) or read_state(run) is not RunState.QUEUED for run in runs))
    until(lambda: all(read_state(run).ended for run in runs), 40)
    assert [read_state(run) for run in runs] == [RunState.FINISHED, RunState.FAILED, RunState.FINISHED]
    spans = [start_and_end(run) for run in runs]
    assert spans[0][1] <= spans[1][0] and spans[1][1] <= spans[2][0], "one after the other"
    assert "phase" in event_kinds(runs[2])
    assert read_requested_devices(runs[0]) == ("any",)


def test_side_by_side_on_their_devices(
    make: Make, waiters: Callable[[str], None], until: Callable[..., None], home: Path
) -> None:
    waiters('[Device("0"), Device("1", "python3 (process 7, 9.5 GiB)"), Device("2")]')
    runs = [make("a"), make("b", "2"), make("c", "1")]
    for run in runs:
        (run.path / "wait").touch()
        launch.start_waiter(run)
    until(lambda: read_state(runs[0]) is RunState.RUNNING and read_state(runs[1]) is RunState.RUNNING, 60)
    until(lambda: runs[1].log_file.read_text() == "2\n", 60)
    until(lambda: "python3 (process 7" in str(queue.read_state(runs[2])[1]), 60)
    for run in runs:
        (run.path / "wait").unlink()
    until(lambda: all(read_state(run) is RunState.FINISHED for run in runs[:2]), 60)
    assert read_state(runs[2]) is RunState.QUEUED, "somebody else's process is waited for"


def test_process_id_and_lock_stay(make: Make, waiters: Callable[[str], None], until: Callable[..., None]) -> None:
    run = make("a", seconds=1.0)
    pid = launch.start_waiter(run)
    until(lambda: "started" in event_kinds(run))
    (started,) = [event for event in JournalReader(run.journal_file).read_new() if event.kind == "started"]
    assert started.data["pid"] == pid
    assert is_held(run.lock_file)
    assert not devices.DeviceLocks(run.home).is_free("cpu")
    os.kill(pid, signal.SIGKILL)
    until(lambda: devices.DeviceLocks(run.home).is_free("cpu"))
    assert read_state(run) is RunState.CRASHED


def test_a_killed_waiter_loses_nothing(
    make: Make, waiters: Callable[[str], None], until: Callable[..., None], home: Path
) -> None:
    first, second, third = make("a", seconds=1.0), make("b"), make("c")
    launch.start_waiter(first)
    until(lambda: read_state(first) is RunState.RUNNING)
    pids = [launch.start_waiter(second), launch.start_waiter(third)]
    until(lambda: is_held(second.lock_file) and is_held(third.lock_file))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not is_held(second.lock_file) and not is_held(third.lock_file))
    assert (read_state(second), read_state(third)) == (RunState.QUEUED, RunState.QUEUED)
    assert [folder.id for folder in queue.restart_waiters(home, launch.start_waiter)] == [second.id, third.id]
    until(lambda: read_state(third) is RunState.FINISHED)
    assert start_and_end(second)[1] <= start_and_end(third)[0]
    assert queue.restart_waiters(home, launch.start_waiter) == []


def test_waiters_replace_each_other(make: Make, waiters: Callable[[str], None], until: Callable[..., None]) -> None:
    first, second = make("a"), make("b")
    launch.start_waiter(second)  # the first has none: it is started, and waited for however long it takes to come up
    until(lambda: read_state(second) is RunState.FINISHED, 60)
    assert read_state(first) is RunState.FINISHED
    assert start_and_end(first)[1] <= start_and_end(second)[0]


def test_a_terminated_waiter_leaves_its_run_queued(
    make: Make, waiters: Callable[[str], None], until: Callable[..., None]
) -> None:
    """As when a container or a machine is shut down."""
    run = make("a")
    queue.set_held(run, True)
    pid = launch.start_waiter(run)
    until(lambda: is_held(run.lock_file))
    os.kill(pid, signal.SIGHUP)
    os.kill(pid, signal.SIGTERM)
    until(lambda: not is_held(run.lock_file))
    assert read_state(run) is RunState.QUEUED


def test_hold_release_and_move(
    make: Make, waiters: Callable[[str], None], until: Callable[..., None], home: Path
) -> None:
    first, second, third = make("a"), make("b"), make("c")
    queue.set_held(first, True)
    assert queue.move_to_position(third, 1) == 1
    assert [entry.folder for entry in queue.list_queue(home)] == [third, first, second]
    assert queue.move_to_position(third, 99) == 3
    assert [entry.folder for entry in queue.list_queue(home)] == [first, second, third]
    for run in (first, second, third):
        launch.start_waiter(run)
    until(lambda: read_state(third) is RunState.FINISHED)
    assert start_and_end(second)[1] <= start_and_end(third)[0]
    assert read_state(first) is RunState.QUEUED
    queue.set_held(first, False)
    until(lambda: read_state(first) is RunState.FINISHED)
    with pytest.raises(UsageError, match=r"not queued \(state: finished\)"):
        queue.set_held(first, True)


@pytest.mark.parametrize("waiting", [True, False])
def test_cancelling(make: Make, waiters: Callable[[str], None], until: Callable[..., None], waiting: bool) -> None:
    run = make("a")
    queue.set_held(run, True)
    if waiting:
        launch.start_waiter(run)
        until(lambda: is_held(run.lock_file))
    assert queue.cancel_queued(run, "me")
    assert read_state(run) is RunState.STOPPED
    assert event_kinds(run).count("stopped") == 1
    assert not (run.path / queue.QUEUE_FILE).exists()
    until(lambda: not is_held(run.lock_file))


def test_the_order_is_lost_but_not_the_run(make: Make, home: Path) -> None:
    first, second = make("a"), make("b")
    (first.path / queue.QUEUE_FILE).write_text("{ torn")
    (second.path / queue.QUEUE_FILE).unlink()
    assert [entry.folder for entry in queue.list_queue(home)] == [first]
    assert {entry.folder for entry in queue.list_queue(home, thorough=True)} == {first, second}


def test_places_of_runs_that_went_on_are_forgotten(make: Make, home: Path) -> None:
    run = make("a")
    with JournalWriter(run.journal_file) as journal:
        journal.write("started", pid=1, attempt=1)
        journal.write("finished", steps=0)
    assert queue.list_queue(home) == []
    assert (run.path / queue.QUEUE_FILE).exists()
    assert queue.list_queue(home, tidy=True) == []
    assert not (run.path / queue.QUEUE_FILE).exists()


def test_a_copy_elsewhere_does_not_start_by_itself(make: Make, home: Path, tmp_path: Path) -> None:
    make("a")
    started: list[RunFolder] = []
    home.rename(tmp_path / "other")
    assert queue.restart_waiters(tmp_path / "other", started.append) == []
    assert len(queue.list_queue(tmp_path / "other")) == 1


def test_a_run_that_lives_is_not_queued(make: Make) -> None:
    run = make("a", add=False)
    with RunLock(run.lock_file), pytest.raises(Exception, match="already running"):
        queue.enqueue(run, ("any",), "me")
    assert read_state(run) is RunState.CREATED


@pytest.mark.parametrize("cards", [1, 2])
def test_two_starters_at_once(
    make: Make, waiters: Callable[[str], None], until: Callable[..., None], home: Path, tmp_path: Path, cards: int
) -> None:
    """Every run starts once, and the marks of the workers show that no device ever had two."""
    waiters(f"[Device(str(n)) for n in range({cards})]")
    runs = [make(f"r{n}", seconds=0.05) for n in range(4)]
    starter = tmp_path / "starter.py"
    starter.write_text(f"""
import sys, time
from pathlib import Path
from mg_tui.runs import launch, queue
launch.waiter_command = lambda folder: (sys.executable, {str(tmp_path / "waiter.py")!r}, str(folder.path))
while time.time() < float(sys.argv[2]): pass
def start(folder):
    try:
        launch.start_waiter(folder)
    except Exception as error:
        assert "already running" in str(error), error
queue.restart_waiters(Path(sys.argv[1]), start)
""")
    at = str(time.time() + 1.0)
    both = [subprocess.Popen([sys.executable, str(starter), str(home), at]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    until(lambda: all(read_state(run).ended for run in runs), 60)
    assert [read_state(run) for run in runs] == [RunState.FINISHED] * len(runs), [r.log_file.read_text() for r in runs]
    assert [event_kinds(run).count("started") for run in runs] == [1] * len(runs)


def test_two_that_are_queued_at_once_have_places_of_their_own(
    make: Make, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reads the order and then writes its place: with the lock nobody reads between the two."""
    original, reading = queue.list_queue, threading.Barrier(3)

    def read_together(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        with contextlib.suppress(threading.BrokenBarrierError):
            reading.wait(0.3)  # until all have read, or it is clear that they cannot at once
        return result

    runs = [make(name, add=False) for name in "abc"]
    monkeypatch.setattr(queue, "list_queue", read_together)
    threads = [threading.Thread(target=queue.enqueue, args=(run, ("any",), "a test")) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(entry.record.place for entry in original(home)) == [1.0, 2.0, 3.0]


def test_waiting_is_light() -> None:
    code = (
        "import sys, mg_tui.runs.waiter, mg_tui.hardware.nvml; "
        "print(sorted({'torch','pydantic','numpy','PIL','textual','click','httpx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_one_run_that_cannot_be_started_keeps_no_other_from_waking(home: Path, make: Make) -> None:
    first, second = make("a"), make("b")

    def start(folder: RunFolder) -> None:
        if folder == first:
            raise EnvironmentProblem("its log cannot be opened")

    assert queue.restart_waiters(home, start) == [second]
