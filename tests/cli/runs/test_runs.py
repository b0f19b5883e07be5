"""`model-garden runs`."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mg_tui.cli.runs import runs
from mg_tui.config import Settings
from mg_tui.core.errors import UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.control import ControlInbox, ControlRequest
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock

Command = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def command(home: Path) -> Command:
    """Call `runs` with arguments."""

    def call(*arguments: str, **more: Any) -> Result:
        return CliRunner().invoke(runs, arguments, obj=Settings(home=home, cache=home / "cache"), **more)

    return call


def make_run(home: Path, name: str | None = None, **changes: Any) -> RunFolder:
    return RunFolder.create(home, TrainingSpec(base_model="tiny", dataset="/data/d.jsonl", name=name, **changes))


@pytest.fixture
def finished(home: Path) -> RunFolder:
    folder = make_run(home, "done")
    with JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, host="h", attempt=1, resumed_from=None)
        journal.write("plan", examples=4, steps=2)
        journal.write("decision", what="dtype", value="float32", why="no GPU")
        journal.write("warning", what="odd\x1b[31m row", where="row 3")
        journal.write("step", step=1, loss=2.0, learning_rate=1e-4, seconds=0.5)
        journal.write("step", step=2, loss=float("nan"), learning_rate=1e-5, seconds=0.5, device_memory_peak=3 << 30)
        journal.write("eval", step=2, loss=1.25)
        journal.write("checkpoint", step=2, path="checkpoints/step-000002", bytes=2_048, seconds=0.1)
        journal.write("finished", steps=2, seconds=1.0, result="/out/model", metrics={})
    return folder


@pytest.fixture
def failed(home: Path) -> RunFolder:
    folder = make_run(home, "bad")
    with JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, host="h", attempt=1, resumed_from=None)
        journal.write("failed", what="out of memory", why="row 7", hint="less pixels", step=0, exit_code=3)
    return folder


@pytest.fixture
def running(home: Path) -> Iterator[tuple[RunFolder, JournalWriter]]:
    folder = make_run(home, "live")
    with RunLock(folder.lock_file), JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=77, host=socket.gethostname(), attempt=1, resumed_from=None)
        journal.write("phase", name="training")
        yield folder, journal


def test_no_runs_prints_how_to_start_one(command: Command) -> None:
    result = command()
    assert (result.exit_code, result.stdout) == (0, "")
    assert "train-vision" in result.stderr
    assert json.loads(command("--json").stdout) == []


def test_list(
    command: Command, home: Path, finished: RunFolder, failed: RunFolder, running: tuple[RunFolder, JournalWriter]
) -> None:
    crashed = make_run(home, "gone")
    with JournalWriter(crashed.journal_file) as journal:
        journal.write("started", pid=1)
    (home / "runs" / "broken").mkdir()
    lines = command("list").stdout.splitlines()
    assert lines[0].split()[:3] == ["ID", "STATE", "STEP"]
    for folder, state in [
        (finished, "✓ finished"),
        (failed, "✗ failed"),
        (running[0], "▶ running"),
        (crashed, "↯ crashed"),
    ]:
        assert sum(folder.id in line and state in line for line in lines) == 1
    assert any(line.startswith("  ! Cannot read the run's spec") for line in lines)
    assert command().stdout.splitlines()[0] == lines[0]


def test_list_as_json(command: Command, finished: RunFolder) -> None:
    (record,) = json.loads(command("list", "--json").stdout)
    assert record["id"] == finished.id
    assert (record["state"], record["step"], record["total_steps"], record["loss"]) == ("finished", 2, 2, "nan")
    assert record["problem"] is None
    assert command("--json").stdout == command("list", "--json").stdout


def test_table_fits_the_width_with_wide_characters() -> None:
    from rich.cells import cell_len

    from mg_tui.cli.runs.summary import format_table
    from mg_tui.runs.state import RunState
    from mg_tui.runs.store import RunSummary
    from mg_tui.runs.view import RunView

    summaries = [
        RunSummary(RunFolder(Path("/h/runs/图像图像")), RunView(), RunState.CREATED, None, {"base_model": "模型" * 40}),
        RunSummary(RunFolder(Path("/h/runs/plain-and-long")), RunView(), RunState.CREATED, "bad\n" * 50),
    ]
    lines = format_table(summaries, 0.0, width=60)
    assert all(cell_len(line) <= 60 for line in lines)
    assert len({cell_len(line[: line.index("○")]) for line in lines if "○" in line}) == 1


def test_show(command: Command, finished: RunFolder) -> None:
    out = command("show", "done").stdout
    for text in (finished.id, "✓ finished", "2/2", "1.25", "3.0 GiB", "float32 (no GPU)", "/out/model", "2.0 KiB"):
        assert text in out
    assert "odd\N{REPLACEMENT CHARACTER}[31m row" in out
    assert "\x1b" not in out


def test_show_as_json(command: Command, finished: RunFolder) -> None:
    record = json.loads(command("show", "last", "--json").stdout)
    assert record["spec"]["base_model"] == "tiny"
    assert record["result"]["result"] == "/out/model"
    assert [item["what"] for item in record["notices"]] == ["odd\x1b[31m row"]
    assert record["latest"]["loss"] == "nan"


def test_show_prints_why_a_run_failed(command: Command, failed: RunFolder) -> None:
    out = command("show", failed.id).stdout
    for text in (
        "failed before the first step: out of memory",
        "why:        row 7",
        "try:        less pixels",
        f"rerun {failed.id}",
    ):
        assert text in out


def test_show_prints_the_diagnosis_of_a_crash(command: Command, home: Path) -> None:
    folder = make_run(home)
    folder.log_file.write_text("loading\nCUDA error: \x1b[31mboom\n")
    with JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1)
        journal.write("checkpoint", step=5, path="checkpoints/step-000005")
        journal.write("step", step=7)
    out = command("show", "last").stdout
    for text in ("↯ crashed", "crashed after step 7", "latest: step 5", "boom", f"resume {folder.id}"):
        assert text in out
    assert "\x1b" not in out


def test_show_of_a_run_without_spec(command: Command, finished: RunFolder) -> None:
    finished.spec_file.unlink()
    result = command("show", finished.id)
    assert result.exit_code == 0
    assert "Cannot read the run's spec" in result.stdout
    assert "2/2" in result.stdout


@pytest.mark.parametrize("name", ["show", "logs", "stop", "checkpoint", "watch", "rm"])
def test_unknown_run(command: Command, finished: RunFolder, name: str) -> None:
    error = command(name, "nope").exception
    assert isinstance(error, UsageError)
    assert "Run 'nope' not found" in str(error)
    assert finished.id in str(error)


def test_logs(command: Command, finished: RunFolder) -> None:
    finished.log_file.write_text("".join(f"line {n}\n" for n in range(100)))
    assert command("logs", "done").stdout.splitlines() == [f"line {n}" for n in range(50, 100)]
    assert command("logs", "done", "-n", "2").stdout.splitlines() == ["line 98", "line 99"]
    assert command("logs", "done", "-n", "1", "-f").stdout.splitlines() == ["line 99"]


def test_logs_are_followed_to_the_end_of_the_run(
    command: Command, running: tuple[RunFolder, JournalWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, journal = running
    texts = iter(["one", "two", "three"])

    def work(_seconds: float) -> None:
        text = next(texts)
        with folder.log_file.open("a") as log:
            log.write(text + "\n")
        if text == "three":
            journal.write("finished", steps=0)

    monkeypatch.setattr(time, "sleep", work)
    assert command("logs", "live", "-f").stdout.splitlines() == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("arguments", "request_name"),
    [(["stop"], "stop"), (["stop", "--now"], "stop_now"), (["checkpoint"], "checkpoint")],
)
def test_requests(
    command: Command, running: tuple[RunFolder, JournalWriter], arguments: list[str], request_name: str
) -> None:
    folder, _journal = running
    inbox = ControlInbox(folder)
    requests: list[ControlRequest] = []

    def work() -> None:
        while not requests:
            requests.extend(inbox.take())

    thread = threading.Thread(target=work)
    thread.start()
    result = command(arguments[0], "live", *arguments[1:], "--json")
    thread.join()
    assert json.loads(result.stdout) == {"id": folder.id, "request": request_name, "seen": True}
    assert requests[0].request == request_name
    assert requests[0].by.endswith("(cli)")


def test_pending_request(
    command: Command, running: tuple[RunFolder, JournalWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mg_tui.runs.control.wait_until_seen", lambda path, timeout: False)
    result = command("stop", "live")
    assert result.exit_code == 0
    assert "not acknowledged yet (training" in result.stderr
    assert "process 77" in result.stderr


def test_stop_requires_a_running_run(command: Command, finished: RunFolder) -> None:
    error = command("stop", "done").exception
    assert isinstance(error, UsageError)
    assert "is not running (state: finished)" in str(error)
    assert list(finished.control_dir.iterdir()) == []


def test_rm(command: Command, home: Path, finished: RunFolder, failed: RunFolder) -> None:
    assert isinstance(command("rm", "done").exception, UsageError)
    assert finished.path.exists()
    assert command("rm", "-y", "done", "bad", "done").exit_code == 0
    assert list((home / "runs").iterdir()) == []


def test_rm_refuses_a_running_one(command: Command, running: tuple[RunFolder, JournalWriter]) -> None:
    error = command("rm", "-y", "live").exception
    assert isinstance(error, UsageError)
    assert "is running" in str(error)
    assert running[0].spec_file.exists()


def test_watch_ends_with_the_runs_exit_code(command: Command, finished: RunFolder, failed: RunFolder) -> None:
    good, bad = command("watch", "done"), command("watch", "bad")
    assert (good.exit_code, good.stdout) == (0, "")
    assert "step 2/2  loss nan" in good.stderr
    assert "finished: 2 steps" in good.stderr
    assert bad.exit_code == 3
    assert "out of memory" in bad.stderr


def test_watch_as_json_is_the_journal(command: Command, finished: RunFolder) -> None:
    assert command("watch", "done", "--json").stdout == finished.journal_file.read_text()


def test_errors_print_without_a_traceback(home: Path) -> None:
    code = "from mg_tui.cli.main import main; main()"
    command = [sys.executable, "-c", code, "--home", str(home), "runs", "show", "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: No runs yet.")
