"""Every run, and one of them."""

import os
import shutil
import socket
import time
from pathlib import Path

import pytest

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.annotations import set_note
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
from mg_tui.runs.remove import remove_run
from mg_tui.runs.state import RunState
from mg_tui.runs.store import LIST_READ_BYTES, RunStore, find_run, list_runs, summarize_run


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def make_run(home: Path, run_id: str, name: str | None = None) -> RunFolder:
    """A run with a given id."""
    made = RunFolder.create(home, TrainingSpec(base_model="tiny", dataset="/d", name=name))
    made.path.rename(made.path.with_name(run_id))
    return RunFolder(made.path.with_name(run_id))


def test_no_home_is_no_runs(home: Path) -> None:
    assert list_runs(home) == []


def test_newest_first(home: Path) -> None:
    for run_id in ("20260102-000000-aaaa", "20260103-000000-bbbb", "20260101-000000-cccc"):
        make_run(home, run_id)
    assert [run.id[-4:] for run in list_runs(home)] == ["bbbb", "aaaa", "cccc"]


def test_a_broken_folder_is_an_entry_that_says_why(home: Path) -> None:
    good = make_run(home, "20260101-000000-aaaa")
    for name in ("b-empty", "c-no-spec", "d-no-journal", "e-odd-journal", "f-corrupt"):
        make_run(home, name)
    runs = home / "runs"
    for path in (runs / "b-empty").iterdir():
        path.rmdir() if path.is_dir() else path.unlink()
    (runs / "c-no-spec" / "spec.json").unlink()
    (runs / "d-no-journal" / "events.jsonl").unlink()
    (runs / "e-odd-journal" / "events.jsonl").unlink()
    (runs / "e-odd-journal" / "events.jsonl").mkdir()
    with (runs / "f-corrupt" / "events.jsonl").open("a") as file:
        file.write("rubbish\n")
    (runs / "a-file").touch()
    (runs / ".hidden").mkdir()
    found = {run.id: run for run in list_runs(home)}
    assert set(found) == {good.id, "b-empty", "c-no-spec", "d-no-journal", "e-odd-journal", "f-corrupt"}
    assert found[good.id].problem is None
    assert "spec" in str(found["b-empty"].problem)
    assert "spec" in str(found["c-no-spec"].problem)
    assert "missing, empty or invalid" in str(found["d-no-journal"].problem)
    assert found["e-odd-journal"].problem == "Cannot read the journal: Is a directory"
    assert found["f-corrupt"].problem == "The journal has 1 broken line; showing the rest."
    assert all(run.as_dict(0.0)["id"] == run.id for run in found.values())


def test_a_store_reads_only_what_is_new_and_forgets_what_is_gone(home: Path) -> None:
    first, second = make_run(home, "20260101-000000-aaaa"), make_run(home, "20260102-000000-bbbb")
    store = RunStore(home)
    views = {run.id: run.view for run in store.refresh()}
    with RunLock(first.lock_file), JournalWriter(first.journal_file) as journal:
        journal.write("started", pid=42, host=socket.gethostname())
        journal.write("step", step=1, loss=0.5)
        again = {run.id: run for run in store.refresh()}
        assert again[first.id].view is views[first.id]
        assert again[first.id].state is RunState.RUNNING
        assert again[first.id].view.step == 1
        assert again[first.id].view.pid == 42
    assert {run.id: run.state for run in store.refresh()}[first.id] is RunState.CRASHED
    remove_run(second)
    assert [run.id for run in store.refresh()] == [first.id]


def test_a_list_glances_at_long_journals_and_still_knows_how_they_end(home: Path) -> None:
    folder = make_run(home, "20260101-000000-aaaa")
    with JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1)
        journal.write("plan", steps=9_000)
        for step in range(1, 9_001):
            journal.write("step", step=step, loss=1.0, learning_rate=1e-5, grad_norm=0.5, seconds=0.1, tokens=1_000)
        journal.write("finished", steps=9_000)
    assert folder.journal_file.stat().st_size > 2 * LIST_READ_BYTES
    (run,) = list_runs(home)
    assert (run.state, run.view.step, run.view.total_steps, run.problem) == (RunState.FINISHED, 9_000, 9_000, None)
    assert len(run.view.series) < len(summarize_run(folder).view.series)


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("20260101-000000-aaaa", "20260101-000000-aaaa"),
        ("20260101", "20260101-000000-aaaa"),
        ("aaaa", "20260101-000000-aaaa"),
        ("bbbb", "20260102-000000-bbbb-cats"),
        ("cats", "20260102-000000-bbbb-cats"),
        ("Cats!", "20260102-000000-bbbb-cats"),
        ("last", "20260103-000000-cccc-dogs"),
    ],
)
def test_finding(home: Path, ref: str, expected: str) -> None:
    make_run(home, "20260101-000000-aaaa")
    make_run(home, "20260102-000000-bbbb-cats", "Cats!")
    make_run(home, "20260103-000000-cccc-dogs", "Dogs")
    assert find_run(home, ref).id == expected


def test_finding_by_path(home: Path, tmp_path: Path) -> None:
    copied = make_run(home, "20260101-000000-aaaa").path.rename(tmp_path / "copy")
    assert find_run(home, str(copied)).path == copied
    with pytest.raises(UsageError, match="Not a run folder"):
        find_run(home, str(tmp_path))


@pytest.mark.parametrize(
    ("ref", "says"), [("2026", "matches 2 runs"), ("20260101-00000-aaaa", "not found"), ("", "not found")]
)
def test_not_finding_names_the_near_ones(home: Path, ref: str, says: str) -> None:
    with pytest.raises(UsageError, match="No runs yet"):
        find_run(home, ref)
    make_run(home, "20260101-000000-aaaa")
    make_run(home, "20260102-000000-bbbb")
    with pytest.raises(UsageError, match=says) as caught:
        find_run(home, ref)
    assert "20260101-000000-aaaa" in str(caught.value.hint)


def test_a_living_run_is_not_removed(home: Path) -> None:
    folder = make_run(home, "20260101-000000-aaaa")
    with RunLock(folder.lock_file), pytest.raises(UsageError, match="is running"):
        remove_run(folder)
    assert folder.spec_file.exists()
    remove_run(folder)
    assert list((home / "runs").iterdir()) == []


def test_removing_a_link_leaves_what_it_points_to(home: Path, tmp_path: Path) -> None:
    kept = make_run(home, "20260101-000000-aaaa").path.rename(tmp_path / "kept")
    link = home / "runs" / "linked"
    link.symlink_to(kept)
    remove_run(RunFolder(link))
    assert kept.exists()
    assert not link.is_symlink()


def test_removing_what_is_not_there(home: Path) -> None:
    with pytest.raises(EnvironmentProblem):
        remove_run(RunFolder(home / "runs" / "none"))


def test_a_run_that_ended_is_read_again_when_somebody_writes_into_it(folder: RunFolder) -> None:
    store = RunStore(folder.home)
    with JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, host="box", attempt=1)
        journal.write("stopped", step=1, by="me")
    assert [run.state for run in store.refresh()] == [RunState.STOPPED]
    assert store.refresh()[0] is store.refresh()[0]
    set_note(folder, "good")
    assert store.refresh()[0].annotations.note == "good"
    with JournalWriter(folder.journal_file) as journal:
        journal.write("queued", gpus="any", by="me")
    assert [run.state for run in store.refresh()] == [RunState.QUEUED]


def test_a_store_notices_runs_that_come_and_go(home: Path) -> None:
    def age() -> None:
        """As if nobody had made or deleted a run for a minute."""
        then = time.time_ns() - 60 * 10**9
        os.utime(home / "runs", ns=(then, then))

    first = make_run(home, "20260101-000000-aaaa")
    store = RunStore(home)
    age()
    assert store.ids() == store.ids() == [first.id]
    second = make_run(home, "20260102-000000-bbbb")
    assert store.ids() == [second.id, first.id]
    age()
    assert len(store.refresh()) == 2
    shutil.rmtree(first.path)
    assert [run.id for run in store.refresh()] == [second.id]


def test_a_run_of_the_same_instant_is_noticed(home: Path) -> None:
    """Times of folders are coarse: two changes may have the same."""
    make_run(home, "20260101-000000-aaaa")
    store, now = RunStore(home), time.time_ns()
    os.utime(home / "runs", ns=(now, now))
    assert len(store.ids()) == 1
    make_run(home, "20260102-000000-bbbb")
    os.utime(home / "runs", ns=(now, now))
    assert len(store.ids()) == 2
