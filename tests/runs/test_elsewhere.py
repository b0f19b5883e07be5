"""Runs whose folders are copies: the other machine says what is alive, and is asked for every change."""

from collections.abc import Iterator
from typing import Any

import pytest

from mg_tui.core.errors import UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs import annotations, control, elsewhere, launch, operations, queue, remove, trash
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lifetime import Lifetime
from mg_tui.runs.lock import RunLock
from mg_tui.runs.outcome import describe_outcome
from mg_tui.runs.state import RunState
from mg_tui.runs.store import find_run, list_runs, summarize_run


class Box:
    """Another machine that notes what it is asked."""

    address = "http://box:8000"
    connected = True
    lifetime = Lifetime("its boot", "its container")
    alive = True
    silent: float | None = None

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def path_of(self, folder: RunFolder) -> str:
        return f"/box/{folder.id}"

    def has_process(self, run_id: str) -> bool:
        return self.alive

    def seconds_silent(self, run_id: str) -> float | None:
        return self.silent

    def why_silent(self) -> str | None:
        return None if self.connected else "not connected"

    def wait_until_current(self) -> None:
        self.asked.append(("current",))

    def list_trash(self) -> list[tuple[str, str, float]]:
        return [("gone", "/box/trash/gone", 7.0)]

    def stop(self, run_id: str, *, now: bool) -> tuple[str, bool, bool]:
        self.asked.append(("stop", run_id, now))
        return "stop", True, False

    def checkpoint(self, run_id: str) -> bool:
        self.asked.append(("checkpoint", run_id))
        return True

    def move(self, run_id: str, position: int) -> int:
        self.asked.append(("move", run_id, position))
        return 3

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **more: self.asked.append((name, *arguments, *more.values()))


@pytest.fixture
def box(tmp_path) -> Iterator[Box]:
    made = Box()
    elsewhere.register(tmp_path, made)
    yield made
    elsewhere.forget(tmp_path)


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": "x.jsonl", "name": "far"})
    made = RunFolder.create(tmp_path, spec)
    with JournalWriter(made.journal_file) as journal:
        journal.write("started", pid=1, host="box", attempt=1, lifetime={"boot": "its boot", "container": None})
        journal.write("step", step=1, loss=1.0)
    return made


def test_the_other_machine_says_whether_a_worker_lives(box, folder) -> None:
    assert summarize_run(folder).state is RunState.RUNNING  # and its lock here is free
    box.alive = False
    assert summarize_run(folder).state is RunState.CRASHED
    with RunLock(folder.lock_file):
        assert summarize_run(folder).state is RunState.CRASHED  # a lock of this machine says nothing


def test_an_interruption_is_one_of_the_other_machine(box, folder) -> None:
    """Its boot is another than this machine's all the time."""
    box.alive = False
    run = summarize_run(folder)
    assert run.state is RunState.CRASHED
    box.lifetime = Lifetime("its next boot", None)
    run = summarize_run(folder)
    assert run.state is RunState.INTERRUPTED
    outcome = describe_outcome(folder, run.view, run.state)
    assert outcome is not None and "was restarted" in dict(outcome.facts)["why"]


def test_silence_is_said_with_the_reason(box, folder) -> None:
    assert summarize_run(folder).silent_seconds is None
    box.silent, box.connected = 42.0, False
    assert summarize_run(folder).state_text == "running, not responding for 42 s"
    assert elsewhere.explain_silence(folder, 1, "box") == "not connected"


def test_the_path_is_the_one_there_and_lists_wait_until_they_are_current(box, folder, tmp_path) -> None:
    assert [run.as_dict(0.0)["path"] for run in list_runs(tmp_path)] == [f"/box/{folder.id}"]
    assert find_run(tmp_path, f"/box/runs/{folder.id}") == find_run(tmp_path, "far") == folder
    assert box.asked == [("current",)] * 3
    with pytest.raises(UsageError) as caught:
        find_run(tmp_path, "near")
    assert caught.value.where == "http://box:8000"


def test_every_change_is_asked_for_and_nothing_is_written_here(box, folder, tmp_path) -> None:
    def files() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    before = files()
    assert operations.request_stop(folder, "me").acknowledged
    assert operations.request_checkpoint(folder, "me").request == "checkpoint"
    operations.send_stop(folder, "me", now=True)
    queue.set_held(folder, True)
    assert queue.move_to_position(folder, 1) == 3
    annotations.rename(folder, "new")
    annotations.set_note(folder, "a note")
    annotations.change_tags(folder, add=["good"])
    remove.remove_checkpoint(folder, 5, "me")
    remove.remove_run(folder)
    (removed,) = trash.list_trash(tmp_path)
    trash.restore_run(tmp_path, removed)
    assert trash.empty_trash(tmp_path) == []
    box.alive = False
    operations.resume_run(folder, "me", from_start=True)
    assert [asked[:3] for asked in box.asked] == [
        ("stop", folder.id, False),
        ("checkpoint", folder.id),
        ("stop", folder.id, True),
        ("set_held", folder.id, True),
        ("move", folder.id, 1),
        ("annotate", folder.id, {"name": "new"}),
        ("annotate", folder.id, {"note": "a note"}),
        ("annotate", folder.id, {"tags": ("good",)}),
        ("remove_checkpoint", folder.id, 5),
        ("remove", folder.id, False),
        ("restore", "gone"),
        ("resume", folder.id, None),
    ]
    for act in (
        lambda: launch.start_worker(folder),
        lambda: launch.start_waiter(folder),
        lambda: control.send_request(folder, "stop", "me"),
    ):
        with pytest.raises(UsageError, match="works on the machine of the run only"):
            act()
    assert files() == before


def test_other_homes_are_of_this_machine(box, folder, tmp_path_factory) -> None:
    other = tmp_path_factory.mktemp("own")
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": "x.jsonl"})
    own = RunFolder.create(other, spec)
    assert elsewhere.elsewhere_of(own) is None and elsewhere.path_of(own) == str(own.path)
    annotations.set_note(own, "a note")
    assert own.annotations_file.exists() and box.asked == []
