"""In a real terminal: it starts, survives a change of size, and gives the terminal back however it ends."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
from tests.tui.synthetic_runs import SyntheticRun, make_run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")


class DashboardTerminal:
    """A pseudo terminal with the dashboard in it."""

    def __init__(self, home: Path, **environ: str):
        self.output = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm-256color", MODEL_GARDEN_HOME=str(home), COLUMNS="", LINES="", **environ)
            for name in ("COLUMNS", "LINES"):
                os.environ.pop(name)
            os.execv(sys.executable, [sys.executable, "-c", "from mg_tui.cli.main import main; main()"])
        self.resize(80, 24, tell=False)
        self.before = termios.tcgetattr(self.fd)

    def resize(self, width: int, height: int, *, tell: bool = True) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        if tell:
            os.kill(self.pid, signal.SIGWINCH)

    def read_until(self, wanted: bytes, seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while wanted not in self.output:
            assert time.monotonic() < deadline, self.output[-600:]
            if not self._read():
                raise AssertionError(f"it ended without {wanted!r}: {self.output[-600:]!r}")

    def _read(self) -> bool:
        if not select.select([self.fd], [], [], 0.1)[0]:
            return True
        try:
            chunk = os.read(self.fd, 1 << 16)
        except OSError:
            return False
        self.output += chunk
        return bool(chunk)

    def wait(self, seconds: float = 10.0) -> int:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.pid = 0
                while self.fd >= 0 and self._read() and select.select([self.fd], [], [], 0)[0]:
                    pass
                return os.waitstatus_to_exitcode(status)
            if self.fd >= 0:
                self._read()
            else:
                time.sleep(0.05)
        raise AssertionError("it did not end")

    def hang_up(self) -> None:
        os.close(self.fd)
        self.fd = -1

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if self.fd >= 0:
            os.close(self.fd)


@pytest.fixture
def terminal(home):
    created: list[DashboardTerminal] = []

    def make(home: Path = home, **environ: str) -> DashboardTerminal:
        created.append(DashboardTerminal(home, **environ))
        return created[-1]

    yield make
    for session in created:
        session.close()


def _assert_restored(terminal: DashboardTerminal) -> None:
    assert terminal.output.rindex(b"\x1b[?1049l") > terminal.output.rindex(b"\x1b[?1049h")  # the normal screen
    assert terminal.output.rindex(b"\x1b[?25h") > terminal.output.rindex(b"\x1b[?25l")  # a visible cursor
    assert b"\x1b[?1000l" in terminal.output  # no mouse
    assert termios.tcgetattr(terminal.fd)[3] == terminal.before[3]  # echo and line editing


def test_start_resize_and_q(terminal) -> None:
    session = terminal()
    session.read_until(b"Model Garden")
    session.read_until(b"invoices-v2")
    session.output = b"\x1b[?1049h\x1b[?25l"
    session.resize(120, 40)
    os.write(session.fd, b"j")
    session.read_until(b"smoothed")  # the curve of the run below the list, which only a tall screen has
    os.write(session.fd, b"q")
    assert session.wait() == 0
    _assert_restored(session)
    assert b"invoices-v2 still running" in session.output


@pytest.fixture
def ending_run(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """A run that trains until the function is called, and then is finished."""
    run = SyntheticRun("invoices", "running", 100, 62, 300)
    folder = make_run(tmp_path / "ending", run, now=time.time())
    lock = RunLock(folder.lock_file).acquire()

    def end() -> None:
        with JournalWriter(folder.journal_file) as journal:
            journal.write("finished", steps=100, seconds=130.0, result="/data/models/invoices", metrics={})
        lock.release()

    yield end
    lock.release()


def test_a_run_s_progress_is_in_the_title_and_its_end_rings(terminal, ending_run, tmp_path) -> None:
    session = terminal(home=tmp_path / "ending", TMUX="", VTE_VERSION="")
    session.read_until("\x1b[22;2t\x1b]2;▶ 62% invoices · Model Garden\a".encode())
    assert b"\x1b]9;" not in session.output
    ending_run()
    session.read_until(b"\a\x1b]9;Model Garden: invoices finished\a")
    session.read_until(b"\x1b]2;Model Garden\a")
    os.write(session.fd, b"q")
    assert session.wait() == 0
    assert session.output.rindex(b"\x1b[23;2t") > session.output.rindex(b"\x1b]2;")
    _assert_restored(session)


def test_settings_turn_title_and_ringing_off(terminal, ending_run, tmp_path) -> None:
    off = {"MODEL_GARDEN_UI_NOTIFY": "off", "MODEL_GARDEN_UI_TERMINAL_TITLE": "off"}
    session = terminal(home=tmp_path / "ending", **off)
    session.read_until(b"invoices")
    ending_run()
    session.read_until("✓ finished: invoices".encode())
    os.write(session.fd, b"q")
    assert session.wait() == 0
    assert b"\x1b]9;" not in session.output and b"\x1b]2;" not in session.output
    assert b"\a" not in re.sub(rb"\x1b\][^\a\x1b]*\a", b"", session.output)  # a bell, not the end of a sequence


def test_no_colour_leaves_glyphs_and_words(terminal) -> None:
    session = terminal(NO_COLOR="1")
    session.read_until(b"Model Garden")
    session.read_until("▶ running".encode())
    os.write(session.fd, b"q")
    assert session.wait() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_end_it_and_give_the_terminal_back(terminal, number, code) -> None:
    session = terminal()
    session.read_until(b"invoices-v2")
    os.kill(session.pid, number)
    assert session.wait() == code
    _assert_restored(session)


def test_a_terminal_that_goes_away_ends_it(terminal) -> None:
    session = terminal()
    session.read_until(b"invoices-v2")
    session.hang_up()
    assert session.wait() in (129, -signal.SIGHUP)


def test_without_a_terminal_it_says_so(home) -> None:
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", "from mg_tui.cli.main import main; main()"],
        env={**os.environ, "MODEL_GARDEN_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "requires a terminal" in done.stderr and "model-garden runs" in done.stderr
