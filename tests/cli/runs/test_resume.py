"""`model-garden runs resume|rerun|replay` and the queue, with small scripts as workers."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mg_tui.cli.main import cli
from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs import launch
from mg_tui.runs.devices import Device
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader, JournalWriter
from mg_tui.runs.lock import RunLock, is_held
from mg_tui.runs.state import RunState
from mg_tui.runs.store import list_runs, summarize_run

Command = Callable[..., Result]

WORKER_SCRIPT = """
import os, sys, time
from pathlib import Path
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader, JournalWriter
from mg_tui.runs.lock import RunLock
folder = RunFolder(Path(sys.argv[1]))
lock, journal = RunLock(folder.lock_file).acquire(), JournalWriter(folder.journal_file)
attempt = sum(event.kind == "started" for event in JournalReader(folder.journal_file).read_new()) + 1
journal.write("started", pid=os.getpid(), host="h", attempt=attempt, resumed_from=5 if attempt > 1 else None)
journal.write("step", step=6, loss=0.5, learning_rate=1e-4)
journal.write("finished", steps=6, seconds=1.0)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def command(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Call `model-garden` with arguments; workers and waiting processes are scripts."""
    worker, waiter = tmp_path / "worker.py", tmp_path / "waiter.py"
    worker.write_text(WORKER_SCRIPT)
    waiter.write_text(f"""
import sys
from mg_tui.runs import launch, waiter
from mg_tui.runs.devices import Device
launch.worker_command = lambda folder: (sys.executable, {str(worker)!r}, str(folder.path))
launch.waiter_command = lambda folder: (sys.executable, __file__, str(folder.path))
waiter.main(lambda: [Device("cpu")], poll=0.05)
""")
    monkeypatch.setattr(launch, "worker_command", lambda folder: (sys.executable, str(worker), str(folder.path)))
    monkeypatch.setattr(launch, "waiter_command", lambda folder: (sys.executable, str(waiter), str(folder.path)))
    monkeypatch.setattr("mg_tui.runs.devices.find_devices", lambda: [Device("cpu")])
    monkeypatch.setenv("MODEL_GARDEN_CONFIG", str(tmp_path / "none.toml"))

    def call(*arguments: str, **more: Any) -> Result:
        return CliRunner().invoke(cli, ["--home", str(home), *arguments], **more)

    return call


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    from PIL import Image

    Image.new("RGB", (56, 56), "red").save(tmp_path / "red.png")
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"text": "what?", "image": "red.png", "response": "red"}) + "\n")
    return path


@pytest.fixture
def stopped(home: Path, dataset: Path) -> RunFolder:
    """A run that was stopped at step 7 and has a checkpoint at step 5."""
    spec = TrainingSpec(base_model="tiny", dataset=str(dataset), name="mine", learning_rate=1e-3)
    folder = RunFolder.create(home, spec)
    with JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, host="h", attempt=1, resumed_from=None)
        journal.write("step", step=7, loss=2.0, learning_rate=1e-4)
        journal.write("stopped", step=7, checkpoint="checkpoints/step-000005", by="me")
    path = folder.checkpoints_dir / "step-000005"
    path.mkdir()
    (path / "checkpoint.json").write_text('{"step": 5, "files": {}}')
    return folder


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def event_kinds(folder: RunFolder) -> list[str]:
    return [event.kind for event in JournalReader(folder.journal_file).read_new()]


def test_resume_continues_the_same_run_and_follows_it(command: Command, stopped: RunFolder, home: Path) -> None:
    result = command("runs", "resume", "mine")
    assert result.exit_code == 0, result.output
    assert "from the checkpoint at step 5; 2 steps will be repeated" in result.stderr
    assert "finished: 6 steps" in result.stderr
    assert event_kinds(stopped).count("started") == 2
    assert len(list_runs(home)) == 1


def test_resume_detached_prints_the_id(command: Command, stopped: RunFolder) -> None:
    result = command("runs", "resume", "last", "--detach")
    assert result.stdout == stopped.id + "\n"
    wait_until(lambda: summarize_run(stopped).state is RunState.FINISHED)


@pytest.mark.parametrize("held", [True, False])
def test_resume_refuses(command: Command, stopped: RunFolder, held: bool) -> None:
    if held:
        with RunLock(stopped.lock_file), JournalWriter(stopped.journal_file) as journal:
            journal.write("started", pid=1, host="h", attempt=2, resumed_from=5)
            result = command("runs", "resume", "mine")
    else:
        (stopped.checkpoints_dir / "step-000005" / "checkpoint.json").unlink()
        result = command("runs", "resume", "mine")
    assert isinstance(result.exception, UsageError)
    assert ("is running" if held else "--from-start") in str(result.exception)


def test_resume_with_a_limit_of_the_cost(command: Command, stopped: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    without = command("runs", "resume", "mine", "--max-cost", "5")
    assert isinstance(without.exception, UsageError) and "without a price" in str(without.exception)
    assert command("runs", "resume", "mine", "--max-cost", "0").exit_code == 2
    assert stopped.read_spec().max_cost is None
    monkeypatch.setenv("MODEL_GARDEN_COST_PER_HOUR", "2.5")
    result = command("runs", "resume", "mine", "--max-cost", "5")
    assert result.exit_code == 0, result.output
    assert stopped.read_spec().max_cost == 5.0 and "finished: 6 steps" in result.stderr
    assert event_kinds(stopped).count("spec_accepted") == 1


def test_resume_in_the_queue(command: Command, stopped: RunFolder) -> None:
    assert command("runs", "resume", "mine", "--queue", "--detach").exit_code == 0
    wait_until(lambda: summarize_run(stopped).state is RunState.FINISHED)
    assert event_kinds(stopped).index("queued") > event_kinds(stopped).index("stopped")


def test_rerun_starts_a_new_run_from_the_same_spec(command: Command, stopped: RunFolder, home: Path) -> None:
    result = command("runs", "rerun", "mine", "--learning-rate", "2e-3", "--name", "again")
    assert result.exit_code == 0, result.output
    by_name = {run.name: run for run in list_runs(home)}
    new, old = by_name["again"], by_name["mine"]
    assert (old.spec["learning_rate"], new.spec["learning_rate"]) == (1e-3, 2e-3)
    assert new.spec["dataset"] == old.spec["dataset"]
    assert new.state is RunState.FINISHED


def test_rerun_into_an_existing_output_folder(command: Command, stopped: RunFolder, tmp_path: Path, home: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "adapter.safetensors").touch()
    result = command("runs", "rerun", "mine", "--output-dir", str(out))
    assert isinstance(result.exception, UsageError)
    assert "--output-dir" in str(result.exception.hint)
    assert len(list_runs(home)) == 1


def test_rerun_names_the_invalid_field(command: Command, stopped: RunFolder) -> None:
    assert "epochs: got '-1'" in str(command("runs", "rerun", "mine", "--epochs", "-1").exception)


def test_replay(command: Command, stopped: RunFolder) -> None:
    result = command("runs", "replay", "mine", "--speed", "1000")
    assert result.exit_code == 0, result.output
    assert "step 7" in result.stderr and "stopped at step 7" in result.stderr
    lines = command("runs", "replay", "mine", "--json").stdout.splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["created", "started", "step", "stopped"]


def test_a_second_stop_is_immediate(command: Command, stopped: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mg_tui.runs.control.wait_until_seen", lambda path, timeout: False)
    with RunLock(stopped.lock_file), JournalWriter(stopped.journal_file) as journal:
        journal.write("started", pid=1, host="h", attempt=2, resumed_from=5)
        first = json.loads(command("runs", "stop", "mine", "--json").stdout)
        second = json.loads(command("runs", "stop", "mine", "--json").stdout)
        assert (first["request"], second["request"]) == ("stop", "stop_now")
        for path in stopped.control_dir.iterdir():
            path.unlink()
        journal.write("request", request="stop", by="me")
        assert json.loads(command("runs", "stop", "mine", "--json").stdout)["request"] == "stop_now"
        journal.write("stopped", step=7, checkpoint=None, by="me")
        for path in stopped.control_dir.iterdir():
            path.unlink()
        journal.write("started", pid=1, host="h", attempt=3, resumed_from=5)
        assert json.loads(command("runs", "stop", "mine", "--json").stdout)["request"] == "stop", "another attempt"


def test_the_queue_from_the_command_line(command: Command, dataset: Path, home: Path) -> None:
    train = ("train-vision", "--base-model", "tiny", "--dataset", str(dataset), "--queue", "--detach")
    (home / "devices").mkdir(parents=True)
    with RunLock(home / "devices" / "cpu.lock"):
        ids = [command(*train, "--name", name).stdout.strip() for name in ("a", "b", "c")]
        assert all(ids)
        listed = json.loads(command("runs", "queue", "--json").stdout)
        assert [entry["id"] for entry in listed] == ids
        assert [entry["position"] for entry in listed] == [1, 2, 3]
        assert command("runs", "move", "c", "first").exit_code == 0
        assert command("runs", "hold", "a").exit_code == 0
        wait_until(lambda: "the CPU: in use by another run" in command("runs", "queue").stdout)
        _header, *lines = command("runs", "queue").stdout.splitlines()
        assert [line.split()[1] for line in lines] == [ids[2], ids[0], ids[1]]
        assert lines[1].endswith("held")
        assert [run["state"] for run in json.loads(command("runs", "--json").stdout)] == ["queued"] * 3
        assert "removed from the queue" in command("runs", "stop", "b").stderr
    folders = {run.name: run.folder for run in list_runs(home)}
    wait_until(lambda: summarize_run(folders["c"]).state is RunState.FINISHED)
    assert summarize_run(folders["b"]).state is RunState.STOPPED
    assert summarize_run(folders["a"]).state is RunState.QUEUED
    assert command("runs", "release", "a").exit_code == 0
    wait_until(lambda: summarize_run(folders["a"]).state is RunState.FINISHED)
    assert "The queue is empty" in command("runs", "queue").stderr
    assert command("runs", "move", "a", "0").exit_code != 0


def test_wake_starts_missing_waiters(command: Command, stopped: RunFolder) -> None:
    from mg_tui.runs import queue

    queue.enqueue(stopped, ("any",), "me")
    (stopped.path / queue.QUEUE_FILE).unlink()  # `wake` finds it in the journal
    assert json.loads(command("runs", "wake", "--json").stdout) == [{"id": stopped.id, "what": "waits again"}]
    wait_until(lambda: summarize_run(stopped).state is RunState.FINISHED)
    assert "Nothing to restart" in command("runs", "wake").stderr


def test_listing_runs_wakes_the_queue(command: Command, stopped: RunFolder) -> None:
    from mg_tui.runs import queue

    queue.enqueue(stopped, ("any",), "me")
    assert not is_held(stopped.lock_file)
    assert f"queued again: {stopped.id}" in command("runs", "list").stderr
    wait_until(lambda: summarize_run(stopped).state is RunState.FINISHED)


def test_unknown_gpu(command: Command, dataset: Path, home: Path) -> None:
    result = command("train-vision", "--base-model", "tiny", "--dataset", str(dataset), "--gpus", "3")
    assert isinstance(result.exception, EnvironmentProblem)
    assert "GPU 3 not found" in str(result.exception)
    assert list_runs(home) == []
