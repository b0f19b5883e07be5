"""Following a run: a bar on a terminal, lines elsewhere, and ctrl+c. On a real pseudo-terminal."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mg_tui.cli import formatting
from mg_tui.cli.displays import LineDisplay, read_logging_steps
from mg_tui.cli.follow import exit_code_of
from mg_tui.core.events import Event
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.state import RunState
from mg_tui.runs.store import summarize_run
from mg_tui.runs.watch import RunWatch

# A worker that trains until a stop is requested.
WORKER_SCRIPT = """
import os, sys, time
from pathlib import Path
from mg_tui.runs.control import ControlInbox
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
folder = RunFolder(Path(sys.argv[1]))
lock, journal, inbox = RunLock(folder.lock_file).acquire(), JournalWriter(folder.journal_file), ControlInbox(folder)
journal.write("started", pid=os.getpid(), host="h", attempt=1, resumed_from=None)
journal.write("plan", examples=9, steps=1000)
journal.write("phase", name="training")
journal.write("warning", what="[bold]mind[/bold] the \\x1b[2J gap")
requests = []
for step in range(1, 1001):
    journal.write("step", step=step, loss=1.5, learning_rate=1e-4, seconds=0.1)
    time.sleep(0.1)
    requests += inbox.take()
    if requests:
        journal.write("request", request=requests[-1].request, by=requests[-1].by)
        journal.write("stopped", step=step, checkpoint=None, by=requests[-1].by)
        break
"""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    spec = TrainingSpec(base_model="tiny", dataset="/d", logging_steps=5)
    return RunFolder.create(tmp_path / "home", spec)


class WatchTerminal:
    """`runs watch` on a pseudo-terminal of 80 columns."""

    def __init__(self, folder: RunFolder, *arguments: str):
        self.output = ""
        home = folder.path.parent.parent
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.environ.update(TERM="xterm-256color", COLUMNS="80", LINES="24", TMUX="", VTE_VERSION="")
            code = "from mg_tui.cli.main import main; main()"
            os.execv(sys.executable, [sys.executable, "-c", code, "--home", str(home), "runs", *arguments])

    def read_until(self, text: str, seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.output:
            assert time.monotonic() < deadline, f"no {text!r} in {self.output!r}"
            self._read(0.1)

    def type(self, text: str) -> None:
        self.output = ""
        os.write(self._fd, text.encode())

    def kill(self, number: int) -> None:
        os.kill(self._pid, number)

    def wait(self) -> int:
        while self._read(1.0):
            pass
        status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        os.close(self._fd)
        return status

    def _read(self, seconds: float) -> bool:
        if not select.select([self._fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            return False
        self.output += data.decode("utf-8", "replace")
        return bool(data)


@pytest.fixture
def worker(folder: RunFolder, tmp_path: Path) -> Iterator[None]:
    """A running worker."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER_SCRIPT)
    process = subprocess.Popen([sys.executable, str(script), str(folder.path)], start_new_session=True)
    while b"step" not in folder.journal_file.read_bytes():
        assert process.poll() is None
        time.sleep(0.01)
    yield
    process.kill()
    process.wait()


def test_bar_question_and_detaching_by_default(folder: RunFolder, worker: None) -> None:
    terminal = WatchTerminal(folder, "watch", "last")
    terminal.read_until("loss 1.5")
    assert "training" in terminal.output
    assert "/1000" in terminal.output
    assert "[bold]mind[/bold]" in terminal.output
    assert "\x1b[2J" not in terminal.output
    terminal.type("\x03")
    terminal.read_until("stop (saves a checkpoint) or detach? [s/D]")
    terminal.type("\n")
    assert terminal.wait() == 0
    assert "the run continues" in terminal.output
    assert folder.id in terminal.output
    assert summarize_run(folder).state is RunState.RUNNING


def test_a_second_ctrl_c_detaches(folder: RunFolder, worker: None) -> None:
    terminal = WatchTerminal(folder, "watch", "last")
    terminal.read_until("loss 1.5")
    terminal.type("\x03")
    terminal.read_until("[s/D]")
    terminal.type("\x03")
    assert terminal.wait() == 0
    assert summarize_run(folder).state is RunState.RUNNING


def test_stopping_follows_to_the_end(folder: RunFolder, worker: None) -> None:
    terminal = WatchTerminal(folder, "watch", "last")
    terminal.read_until("loss 1.5")
    terminal.type("\x03")
    terminal.read_until("[s/D]")
    terminal.type("s\n")
    assert terminal.wait() == 0
    assert "stop requested" in terminal.output
    assert "stopped at step" in terminal.output
    assert f"\a\x1b]9;Model Garden: {folder.id} stopped\a" in terminal.output
    summary = summarize_run(folder)
    assert summary.state is RunState.STOPPED
    assert summary.view.requests[0]["request"] == "stop"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_restores_the_cursor_and_the_run_continues(folder: RunFolder, worker: None, number: int) -> None:
    terminal = WatchTerminal(folder, "watch", "last")
    terminal.read_until("loss 1.5")
    assert "\x1b[?25l" in terminal.output
    terminal.kill(number)
    assert terminal.wait() == 128 + number
    assert terminal.output.rindex("\x1b[?25h") > terminal.output.rindex("\x1b[?25l")
    assert summarize_run(folder).state is RunState.RUNNING


def start_watch_without_terminal(folder: RunFolder) -> "subprocess.Popen[str]":
    code = "from mg_tui.cli.main import main; main()"
    command = [sys.executable, "-c", code, "--home", str(folder.path.parent.parent), "runs", "watch", "last"]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_without_a_terminal_an_interrupt_detaches_with_130(folder: RunFolder, worker: None) -> None:
    process = start_watch_without_terminal(folder)
    assert process.stderr is not None
    first = [process.stderr.readline() for _ in range(4)]
    process.send_signal(signal.SIGINT)
    out, rest = process.communicate(timeout=20)
    assert first[0] == "started\n"
    assert first[3] == "warning: [bold]mind[/bold] the \N{REPLACEMENT CHARACTER}[2J gap\n"
    assert "the run continues" in rest
    assert out == ""
    assert process.returncode == 130
    assert summarize_run(folder).state is RunState.RUNNING


def step_event(number: int, seconds: float = 10.0) -> Event:
    return Event(number, number * seconds, "step", {"step": number, "loss": 0.5, "learning_rate": 1e-5, "seconds": 1.0})


def test_one_line_per_logging_interval(folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    watch, display = RunWatch(folder), LineDisplay(read_logging_steps(folder))
    events = [*(step_event(n) for n in range(1, 13)), Event(13, 2.0, "plan", {"examples": 3, "steps": 12})]
    watch.view.apply(events)
    display.update(watch, events)
    display.close()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("step")] == ["1/12", "5/12", "10/12", "12/12"]
    assert lines[-2:] == ["step 12/12  loss 0.5  lr 1e-05  1.00 s/step  ETA —", "plan: 3 examples, 12 steps"]


def test_a_long_backlog_is_truncated(folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    events = [step_event(n) for n in range(1, 1_001)]
    watch = RunWatch(folder)
    watch.view.apply(events)
    LineDisplay(5).update(watch, events)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "… 181 earlier lines omitted"
    assert len(lines) == 21


def test_fast_steps_make_a_line_in_some_seconds(folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    events = [step_event(n, seconds=0.1) for n in range(1, 409)]
    watch, display = RunWatch(folder), LineDisplay(1)
    for event in events:
        watch.view.apply([event])
        display.update(watch, [event])
    lines = capsys.readouterr().err.splitlines()
    assert 8 <= len(lines) <= 10 and lines[0].startswith("step 1")


@pytest.mark.parametrize("warning", [True, False])
def test_decisions_are_one_line(folder: RunFolder, capsys: pytest.CaptureFixture[str], warning: bool) -> None:
    decisions = [Event(n, 1.0, "decision", {"what": f"option {n}", "value": n, "why": "so"}) for n in range(1, 12)]
    warnings = [Event(12, 1.0, "warning", {"what": "mind the gap"})] if warning else []
    watch, events = RunWatch(folder), [*decisions, *warnings, step_event(13)]
    watch.view.apply(events)
    LineDisplay(1, folder).update(watch, events)
    lines = capsys.readouterr().err.splitlines()
    folded = f"11 options chosen automatically; `model-garden runs show {folder.id}` lists them"
    assert lines[:-1] == [*(["warning: mind the gap"] if warning else []), folded]


@pytest.mark.parametrize("spec", [None, "{}", '{"logging_steps": "x"}', '{"logging_steps": 0}'])
def test_an_unreadable_logging_interval_is_one(folder: RunFolder, spec: str | None) -> None:
    folder.spec_file.unlink()
    if spec is not None:
        folder.spec_file.write_text(spec)
    assert read_logging_steps(folder) == 1


@pytest.mark.parametrize(
    ("state", "data", "code"),
    [
        (RunState.FINISHED, {}, 0),
        (RunState.STOPPED, {}, 0),
        (RunState.RUNNING, {}, 0),
        (RunState.CRASHED, {}, 1),
        (RunState.FAILED, {}, 1),
        (RunState.FAILED, {"exit_code": 3}, 3),
        (RunState.FAILED, {"exit_code": 0}, 1),
        (RunState.FAILED, {"exit_code": "x"}, 1),
    ],
)
def test_exit_codes(folder: RunFolder, state: RunState, data: dict[str, object], code: int) -> None:
    with JournalWriter(folder.journal_file) as journal:
        journal.write("failed", **data)
    assert exit_code_of(state, folder) == code


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "—"), (float("nan"), "—"), (0, "0:00"), (59.6, "1:00"), (3_723, "1:02:03"), (-1, "0:00")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert formatting.format_duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(None, "—"), (0, "0 B"), (1_536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (3 << 40, "3.0 TiB")]
)
def test_sizes(count: float | None, text: str) -> None:
    assert formatting.format_bytes(count) == text


def test_every_kind_of_event_is_formatted_on_one_line() -> None:
    from mg_tui.core.events import KINDS

    for kind in KINDS:
        line = formatting.format_event(Event(1, 1.0, kind, {}))
        assert line is None or "\n" not in line
