"""Runs whose container or machine is gone: told apart from a crash, offered, and on request gone on with."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mg_tui.core.events import Event
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs import launch, queue
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.interrupted import MAX_STARTS_WITHOUT_STEP, find_interrupted, resume_interrupted
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lifetime import Lifetime, current_lifetime
from mg_tui.runs.lock import RunLock
from mg_tui.runs.state import RunState
from mg_tui.runs.store import summarize_run

OTHER_LIFETIME = {"boot": current_lifetime().boot, "container": "pid:[4026539999] 12345"}
Make = Callable[..., RunFolder]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a run that was started in some lifetime, and what it said then."""

    def one(
        lifetime: object = OTHER_LIFETIME, *said: tuple[str, dict[str, object]], steps: int = 1, starts: int = 1
    ) -> RunFolder:
        home = tmp_path / "home"
        folder = RunFolder.create(home, TrainingSpec(base_model="tiny", dataset="/rows.jsonl", device="cpu"))
        with JournalWriter(folder.journal_file) as journal:
            for attempt in range(1, starts + 1):
                journal.write("started", pid=7, attempt=attempt, home=str(home), lifetime=lifetime)
            for step in range(1, steps + 1):
                journal.write("step", step=step, loss=1.0)
            for kind, data in said:
                journal.write(kind, **data)
        return folder

    return one


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> list[RunFolder]:
    """The runs whose waiting process was started."""
    found: list[RunFolder] = []
    monkeypatch.setattr(launch, "start_waiter", found.append)
    return found


def test_this_process_knows_its_boot_and_its_container() -> None:
    assert current_lifetime().boot and current_lifetime().container
    assert current_lifetime().since(current_lifetime().as_dict()) is None


@pytest.mark.parametrize(
    ("then", "says"),
    [
        ({"boot": "a", "container": "c"}, None),
        ({"boot": "b", "container": "c"}, "restarted"),
        ({"boot": "a", "container": "d"}, "container"),
        ({"boot": None, "container": None}, None),
        ({}, None),
    ],
)
def test_what_has_ended_since(then: dict[str, object], says: str | None) -> None:
    found = Lifetime("a", "c").since(then)
    assert found is None if says is None else says in str(found)
    assert Lifetime().since({"boot": "b", "container": "c"}) is None, "a system that does not say"


def test_without_a_word_it_is_a_crash_here_and_an_interruption_elsewhere(make: Make) -> None:
    assert summarize_run(make(current_lifetime().as_dict())).state is RunState.CRASHED
    assert summarize_run(make(None)).state is RunState.CRASHED, "older journals do not say"
    run = make()
    assert summarize_run(run).state is RunState.INTERRUPTED
    with RunLock(run.lock_file):
        assert summarize_run(run).state is RunState.RUNNING, "another container's, which lives"


def test_a_shutdown_interrupts_and_a_person_stops(make: Make) -> None:
    def stopped(by: str, lifetime: object = OTHER_LIFETIME) -> RunState:
        return summarize_run(make(lifetime, ("stopped", {"step": 1, "checkpoint": None, "by": by}))).state

    assert stopped("signal SIGTERM") is RunState.INTERRUPTED
    assert stopped("signal SIGTERM", current_lifetime().as_dict()) is RunState.STOPPED
    assert stopped("signal SIGINT") is RunState.STOPPED
    assert stopped("me@box (cli)") is RunState.STOPPED
    assert summarize_run(make(OTHER_LIFETIME, ("finished", {"steps": 1}))).state is RunState.FINISHED
    assert summarize_run(make(OTHER_LIFETIME, ("failed", {"what": "a"}))).state is RunState.FAILED


def test_they_go_on_in_their_order_before_what_was_queued(
    make: Make, waiting: list[RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    runs = sorted([make(), make()], key=lambda run: run.id)
    queued = make(current_lifetime().as_dict(), ("finished", {"steps": 1}))
    queue.enqueue(queued, ("cpu",), "me")
    crashed = make(current_lifetime().as_dict())
    assert [run.folder for run in find_interrupted(home)] == runs
    assert resume_interrupted(home, "me") == runs
    assert sorted(waiting, key=lambda run: run.id) == runs
    assert [entry.folder for entry in queue.list_queue(home)] == [*runs, queued]
    assert queue.read_queue_record(runs[0]).gpus == ("cpu",), "its spec says so"
    assert summarize_run(crashed).state is RunState.CRASHED
    assert resume_interrupted(home, "me") == []


def test_some_are_only_offered(make: Make, waiting: list[RunFolder], tmp_path: Path) -> None:
    tried = make(steps=0, starts=MAX_STARTS_WITHOUT_STEP)
    copied = make()
    moved = copied.path.rename(tmp_path / "home" / "runs" / "copied")
    journal = moved / "events.jsonl"
    events = [Event.from_line(line) for line in journal.read_text().splitlines()]
    elsewhere = {"home": "/somewhere/else"}
    changed = [
        replace(event, data={**event.data, **elsewhere} if "home" in event.data else event.data) for event in events
    ]
    journal.write_text("".join(event.to_line() for event in changed))
    alive = make()
    with RunLock(alive.lock_file):
        assert resume_interrupted(tmp_path / "home", "me") == []
    assert waiting == []
    assert {run.id for run in find_interrupted(tmp_path / "home")} == {tried.id, alive.id, "copied"}


def test_two_faces_at_once_queue_it_once(make: Make, waiting: list[RunFolder], tmp_path: Path) -> None:
    run = make()
    assert queue.enqueue(run, ("cpu",), "me", expected=RunState.INTERRUPTED)
    assert not queue.enqueue(run, ("cpu",), "you", expected=RunState.INTERRUPTED)
    assert run.journal_file.read_text().count('"queued"') == 1
