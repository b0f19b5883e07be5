"""What faces ask of runs: started, queued, stopped and done again without a word printed."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mg_tui.config import Settings
from mg_tui.core.errors import EnvironmentProblem, RunFailed, SpecError, UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs import actions, launch, queue
from mg_tui.runs.devices import Device
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader, JournalWriter
from mg_tui.runs.lock import is_held
from mg_tui.runs.state import RunState
from mg_tui.runs.store import summarise

OBEYS = """
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
    script.write_text(prelude + OBEYS)
    monkeypatch.setattr(launch, "worker_command", lambda folder: (sys.executable, str(script), str(folder.path)))
    monkeypatch.setattr("mg_tui.runs.devices.found", lambda: [Device("cpu")])
    original = launch._start

    def start(*arguments: object) -> int:
        pids.append(original(*arguments))  # type: ignore[arg-type]
        return pids[-1]

    monkeypatch.setattr(launch, "_start", start)
    yield
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def test_a_second_stop_ends_at_once(folder: RunFolder, until: Until, capsys: pytest.CaptureFixture[str]) -> None:
    assert actions.begin(folder, "me") == actions.Begun(folder)
    until(lambda: summarise(folder).view.step == 1)
    asked = actions.save(folder, "me")
    assert (asked.request, asked.seen, asked.queued) == ("checkpoint", True, False)
    assert actions.stop(folder, "me").request == "stop"
    until(lambda: summarise(folder).view.stop_asked)
    assert actions.stop(folder, "you").request == "stop_now"
    until(lambda: summarise(folder).state is RunState.STOPPED)
    assert [r["request"] for r in summarise(folder).view.requests] == ["checkpoint", "stop", "stop_now"]
    with pytest.raises(UsageError, match="not running; it is stopped"):
        actions.stop(folder, "me")
    with pytest.raises(UsageError, match="not running; it is stopped"):
        actions.save(folder, "me")
    assert capsys.readouterr() == ("", "")


def test_now_asks_for_the_end_at_once(folder: RunFolder, until: Until) -> None:
    actions.begin(folder, "me")
    until(lambda: summarise(folder).view.step == 1)
    with pytest.raises(RunFailed, match="already running"):
        actions.begin(folder, "me")
    assert actions.stop(folder, "me", now=True).request == "stop_now"


def test_going_on_with_a_run(folder: RunFolder, until: Until) -> None:
    with JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, attempt=1)
        journal.write("failed", what="a", exit_code=1)
    with pytest.raises(UsageError, match="nothing to go on from"):
        actions.resume(folder, "me")
    assert actions.resume(folder, "me", from_start=True).said.startswith("from the beginning")
    until(lambda: summarise(folder).view.attempt == 2)
    with pytest.raises(UsageError, match="is running"):
        actions.resume(folder, "me")


def test_queueing_says_how_many_are_before(folder: RunFolder, tmp_path: Path, spec: TrainingSpec, until: Until) -> None:
    other = RunFolder.create(tmp_path / "home", spec)
    queue.add(other, ("cpu",), "me")
    queue.hold(other, True)
    begun = actions.begin(folder, "me", gpus=("cpu",), in_queue=True)
    assert (begun.queued, begun.gpus, begun.ahead) == (True, ("cpu",), 1)
    assert (queue.position(other), queue.position(folder)) == (1, 2)
    until(lambda: is_held(folder.lock_file))
    with pytest.raises(EnvironmentProblem, match="no GPU 3 here"):
        actions.begin(RunFolder.create(tmp_path / "home", spec), "me", gpus=("3",), in_queue=True)
    asked = actions.stop(other, "me")
    assert (asked.queued, asked.seen) == (True, True)
    assert summarise(other).state is RunState.STOPPED
    assert queue.position(other) is None


def test_a_spec_of_an_old_run_with_changes(tmp_path: Path) -> None:
    asked_in, now_in = tmp_path / "then", tmp_path / "now"
    asked_in.mkdir()
    (now_in / "models" / "mine").mkdir(parents=True)
    spec = TrainingSpec(base_model="tiny", dataset="rows.jsonl", output_dir="out")
    folder = launch.prepare(spec, Settings(tmp_path / "home", tmp_path / "cache"), cwd=asked_in)
    (created,) = JournalReader(folder.journal_file).read_new()
    assert created.data["cwd"] == str(asked_in)
    again = actions.respec(folder, {"output_dir": "new", "learning_rate": 1e-4}, cwd=now_in)
    assert (again.spec.output_dir, again.spec.learning_rate) == (str(now_in / "new"), 1e-4)
    assert again.spec.dataset == str(asked_in / "rows.jsonl"), "the old one"
    assert again.cwd == asked_in, "images are found where they were"
    other = actions.respec(folder, {"dataset": "other.jsonl", "base_model": "./models/mine"}, cwd=now_in)
    assert (other.spec.dataset, other.cwd) == (str(now_in / "other.jsonl"), now_in)
    assert other.spec.base_model == str(now_in / "models/mine")
    with pytest.raises(SpecError, match="lora_r") as caught:
        actions.respec(folder, {"lora_r": 0}, cwd=now_in)
    assert caught.value.where is None, "the value is not in the file"
