"""What faces ask of runs: started, queued, stopped and done again without a word printed."""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mg_tui.config import Settings
from mg_tui.core.errors import EnvironmentProblem, RunFailed, SpecError, UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs import launch, operations, queue
from mg_tui.runs.devices import Device
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader, JournalWriter
from mg_tui.runs.lock import is_held
from mg_tui.runs.resume import commit_resume_target, find_resume_target, read_resume_step
from mg_tui.runs.state import RunState
from mg_tui.runs.store import list_running, summarize_run
from mg_tui.runs.watch import RunWatch

OBEDIENT_WORKER = """
inbox = ControlInbox(folder)
attempt = 1 + sum(line.count(b'"kind":"started"') for line in folder.journal_file.read_bytes().splitlines())
started(attempt)
step(1)
while True:
    for request in inbox.take():
        journal.write("request", request=request.request, by=request.by)
        if request.request == "stop_now":
            journal.write("stopped", step=1, checkpoint=None, by=request.by)
            sys.exit()
    time.sleep(0.02)
"""
Until = Callable[..., None]


@pytest.fixture(autouse=True)
def scripts(tmp_path: Path, prelude: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Workers are small scripts; waiting processes are the real ones, on a machine without a GPU."""
    script, pids = tmp_path / "obeys.py", []
    script.write_text(prelude + OBEDIENT_WORKER)
    monkeypatch.setattr(launch, "worker_command", lambda folder: (sys.executable, str(script), str(folder.path)))
    monkeypatch.setattr("mg_tui.runs.devices.find_devices", lambda: [Device("cpu")])
    original = launch._start_process

    def start(*arguments: object) -> int:
        pids.append(original(*arguments))  # type: ignore[arg-type]
        return pids[-1]

    monkeypatch.setattr(launch, "_start_process", start)
    yield
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def test_a_second_stop_ends_at_once(folder: RunFolder, until: Until, capsys: pytest.CaptureFixture[str]) -> None:
    assert operations.start_or_queue(folder, "me") == operations.StartedRun(folder)
    until(lambda: summarize_run(folder).view.step == 1)
    asked = operations.request_checkpoint(folder, "me")
    assert (asked.request, asked.acknowledged, asked.queued) == ("checkpoint", True, False)
    assert operations.request_stop(folder, "me").request == "stop"
    until(lambda: summarize_run(folder).view.stop_requested)
    assert operations.request_stop(folder, "you").request == "stop_now"
    until(lambda: summarize_run(folder).state is RunState.STOPPED)
    assert [r["request"] for r in summarize_run(folder).view.requests] == ["checkpoint", "stop", "stop_now"]
    with pytest.raises(UsageError, match=r"not running \(state: stopped\)"):
        operations.request_stop(folder, "me")
    with pytest.raises(UsageError, match=r"not running \(state: stopped\)"):
        operations.request_checkpoint(folder, "me")
    assert capsys.readouterr() == ("", "")


def test_now_asks_for_the_end_at_once(folder: RunFolder, until: Until) -> None:
    operations.start_or_queue(folder, "me")
    until(lambda: summarize_run(folder).view.step == 1)
    with pytest.raises(RunFailed, match="already running"):
        operations.start_or_queue(folder, "me")
    assert operations.request_stop(folder, "me", now=True).request == "stop_now"


def test_going_on_with_a_run(folder: RunFolder, until: Until) -> None:
    with JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, attempt=1)
        journal.write("failed", what="a", exit_code=1)
    with pytest.raises(UsageError, match="no valid checkpoint to resume from"):
        operations.resume_run(folder, "me")
    assert operations.resume_run(folder, "me", from_start=True).summary.startswith("from step 0")
    until(lambda: summarize_run(folder).view.attempt == 2)
    with pytest.raises(UsageError, match="is running"):
        operations.resume_run(folder, "me")


def test_a_refused_resume_changes_nothing_of_the_run_that_is_starting(folder: RunFolder, until: Until) -> None:
    """`runs resume ID --detach` and at once `runs resume ID --from 2`: the second must not name checkpoints to remove
    to the worker of the first, which has not come up yet."""
    with JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, attempt=1)
        journal.write("stopped", step=6, by="me")
    for step in (2, 4, 6):
        path = folder.checkpoints_dir / f"step-{step:06d}"
        path.mkdir()
        (path / "checkpoint.json").write_text(json.dumps({"step": step, "files": {}}))
    first, second = find_resume_target(folder), find_resume_target(folder, at="2")
    assert second.removed_steps == (4, 6)
    operations.start_or_queue(folder, "me", prepare=lambda: commit_resume_target(first))
    for in_queue in (False, True):
        with pytest.raises(RunFailed, match="already running") as caught:
            operations.start_or_queue(
                folder, "you", gpus=("cpu",), in_queue=in_queue, prepare=lambda: commit_resume_target(second)
            )
        assert caught.value.exit_code == 1
        assert read_resume_step(folder) is None
    until(lambda: summarize_run(folder).view.step == 1)
    operations.request_stop(folder, "me", now=True)
    until(lambda: not is_held(folder.lock_file))
    with pytest.raises(RunFailed, match="resumed by somebody else"):  # found before, and the run has gone on since
        operations.start_or_queue(folder, "you", prepare=lambda: commit_resume_target(second))
    assert read_resume_step(folder) is None and not is_held(folder.lock_file)


def test_queueing_says_how_many_are_before(folder: RunFolder, tmp_path: Path, spec: TrainingSpec, until: Until) -> None:
    other = RunFolder.create(tmp_path / "home", spec)
    queue.enqueue(other, ("cpu",), "me")
    queue.set_held(other, True)
    begun = operations.start_or_queue(folder, "me", gpus=("cpu",), in_queue=True)
    assert (begun.queued, begun.gpus, begun.runs_ahead) == (True, ("cpu",), 1)
    assert (queue.queue_position(other), queue.queue_position(folder)) == (1, 2)
    until(lambda: is_held(folder.lock_file))
    with pytest.raises(EnvironmentProblem, match="GPU 3 not found"):
        operations.start_or_queue(RunFolder.create(tmp_path / "home", spec), "me", gpus=("3",), in_queue=True)
    asked = operations.request_stop(other, "me")
    assert (asked.queued, asked.acknowledged) == (True, True)
    assert summarize_run(other).state is RunState.STOPPED
    assert queue.queue_position(other) is None


def test_a_start_reads_no_journal_of_runs_that_have_ended(
    folder: RunFolder, tmp_path: Path, spec: TrainingSpec, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        with JournalWriter(RunFolder.create(tmp_path / "home", spec).journal_file) as journal:
            journal.write("finished", steps=1)
    read: set[str] = set()
    refresh = RunWatch.refresh

    def noted(watch: RunWatch) -> Any:
        read.add(watch.folder.id)
        return refresh(watch)

    monkeypatch.setattr(RunWatch, "refresh", noted)
    assert list_running(tmp_path / "home") == []
    operations.start_or_queue(folder, "me", gpus=("cpu",), in_queue=True)
    until(lambda: is_held(folder.lock_file))
    assert queue.queue_position(folder) == 1
    assert read == {folder.id}
    (folder.path / queue.QUEUE_FILE).unlink()
    assert queue.queue_position(folder) == 1


def test_a_spec_of_an_old_run_with_changes(tmp_path: Path) -> None:
    asked_in, now_in = tmp_path / "then", tmp_path / "now"
    asked_in.mkdir()
    (now_in / "models" / "mine").mkdir(parents=True)
    spec = TrainingSpec(base_model="tiny", dataset="rows.jsonl", output_dir="out")
    folder = launch.create_run(spec, Settings(tmp_path / "home", tmp_path / "cache"), cwd=asked_in)
    (created,) = JournalReader(folder.journal_file).read_new()
    assert created.data["cwd"] == str(asked_in)
    again = operations.rerun_spec(folder, {"output_dir": "new", "learning_rate": 1e-4}, cwd=now_in)
    assert (again.spec.output_dir, again.spec.learning_rate) == (str(now_in / "new"), 1e-4)
    assert again.spec.dataset == str(asked_in / "rows.jsonl"), "the old one"
    assert again.cwd == asked_in, "images are found where they were"
    other = operations.rerun_spec(folder, {"dataset": "other.jsonl", "base_model": "./models/mine"}, cwd=now_in)
    assert (other.spec.dataset, other.cwd) == (str(now_in / "other.jsonl"), now_in)
    assert other.spec.base_model == str(now_in / "models/mine")
    with pytest.raises(SpecError, match="lora_r") as caught:
        operations.rerun_spec(folder, {"lora_r": 0}, cwd=now_in)
    assert caught.value.where is None, "the value is not in the file"
