"""Process 1 of the image, here as an ordinary process that adopts the orphans below it, and as a real process 1."""

import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

INIT = Path(__file__).resolve().parents[2] / "docker" / "container" / "init.py"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the image is Linux")

# A command that starts something which outlives it, as `train-vision --detach` does, and ends with status 3.
SCRIPT_LEAVING_A_RUN = """
import subprocess, sys
log = open(sys.argv[1], "w")
run = [sys.executable, "-c", sys.argv[2], "mg_tui.engine", "/data/runs/my-run"]
subprocess.Popen(run, start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
sys.exit(3)
"""
RUN_THAT_ENDS = "import time; time.sleep(2.5); print('done', flush=True)"
SCRIPT_SAVING_ON_SIGNAL = """
import signal, sys, time
def save(*_):
    print("saved", flush=True); sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("running", flush=True)
time.sleep(60)
"""


def wait_until(what: Callable[[], bool], seconds: float = 15) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "timed out"
        time.sleep(0.02)


@contextmanager
def start_init(*command: str, prefix: tuple[str, ...] = (), **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*prefix, sys.executable, "-IS", str(INIT), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "GARDEN_CHECKS": "off", **environment},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def test_exit_status_of_the_command() -> None:
    with start_init(sys.executable, "-c", "print('hello'); raise SystemExit(7)") as init:
        out, err = init.communicate(timeout=15)
    assert (init.returncode, out, err) == (7, "hello\n", "")


def test_exit_status_of_a_command_killed_by_a_signal() -> None:
    with start_init(sys.executable, "-c", "import os; os.kill(os.getpid(), 9)") as init:
        init.communicate(timeout=15)
    assert init.returncode == 137


def test_a_missing_command_is_named() -> None:
    with start_init("no-such-command") as init:
        _, err = init.communicate(timeout=15)
    assert (init.returncode, err) == (127, "no-such-command: No such file or directory\n")


def test_it_waits_for_the_run_that_the_command_started(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with start_init(sys.executable, "-c", SCRIPT_LEAVING_A_RUN, str(log), RUN_THAT_ENDS) as init:
        _, err = init.communicate(timeout=30)
    assert log.read_text() == "done\n"
    assert init.returncode == 3
    assert "Still running in this container" in err
    assert "docker exec -it" in err


def test_sigterm_reaches_the_command_and_its_run(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with start_init(sys.executable, "-c", SCRIPT_LEAVING_A_RUN, str(log), SCRIPT_SAVING_ON_SIGNAL) as init:
        wait_until(lambda: log.exists() and "running" in log.read_text())
        init.send_signal(signal.SIGTERM)
        init.communicate(timeout=15)
    assert log.read_text() == "running\nsaved\n"
    assert init.returncode == 3


def test_a_second_interrupt_stops_the_run(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with start_init(sys.executable, "-c", SCRIPT_LEAVING_A_RUN, str(log), SCRIPT_SAVING_ON_SIGNAL) as init:
        assert init.stderr is not None
        wait_until(lambda: log.exists() and "running" in log.read_text())
        assert "Still running" in init.stderr.readline()  # by then the command has ended
        init.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert log.read_text() == "running\n"
        init.send_signal(signal.SIGINT)
        init.communicate(timeout=15)
    assert log.read_text() == "running\nsaved\n"


def test_a_terminal_gets_whole_words(tmp_path: Path) -> None:
    """The sentence tells what to type, which has to be read and copied."""
    closed = tmp_path / "file"
    closed.touch()
    pid, terminal = pty.fork()
    if pid == 0:
        environ = {**os.environ, "GARDEN_CHECKS": "on", "MODEL_GARDEN_HOME": str(closed / "h"), "COLUMNS": "40"}
        os.execve(sys.executable, [sys.executable, "-IS", str(INIT), "true"], environ)
    said = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while part := os.read(terminal, 4096):
            said += part
    os.waitpid(pid, 0)
    os.close(terminal)
    lines = [line for line in said.decode().split("\r\n") if str(tmp_path) not in line]
    assert max(map(len, lines)) <= 40 and len(lines) > 3
    assert "cannot write" in said.decode().replace("\r\n", " ")


def test_ctrl_c_of_a_terminal_arrives_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    counts = f"""
import signal, time
signal.signal(signal.SIGINT, lambda *_: open({str(log)!r}, "a").write("interrupt\\n"))
open({str(log)!r}, "w").write("ready\\n")
time.sleep(1.5)
"""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-IS", str(INIT), sys.executable, "-c", counts])
    wait_until(lambda: log.exists() and "ready" in log.read_text())
    os.write(terminal, b"\x03")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert log.read_text() == "ready\ninterrupt\n"
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_stopped_command_is_continued() -> None:
    with start_init(
        sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSTOP); print('woken')"
    ) as init:
        out, _ = init.communicate(timeout=15)
    assert (init.returncode, out) == (0, "woken\n")


# --- as process 1 ----------------------------------------------------------------------------------------------------

NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def _namespaces_work() -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode == 0
    )


needs_namespace = pytest.mark.skipif(not _namespaces_work(), reason="a process namespace cannot be made here")


@needs_namespace
def test_process_1_waits_for_an_orphan_and_forwards_sigterm(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with start_init(
        sys.executable, "-c", SCRIPT_LEAVING_A_RUN, str(log), SCRIPT_SAVING_ON_SIGNAL, prefix=NAMESPACE
    ) as outer:
        wait_until(lambda: log.exists() and "running" in log.read_text())
        time.sleep(1.5)
        assert outer.poll() is None
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
        assert len(children) == 1
        os.kill(int(children[0]), signal.SIGTERM)
        outer.communicate(timeout=15)
    assert log.read_text() == "running\nsaved\n"
    assert outer.returncode == 3


@needs_namespace
def test_sessions_from_outside_restore_their_terminals_before_process_1_ends(tmp_path: Path) -> None:
    """As `docker exec` does, a dashboard is started in the container from outside; it would be killed at its end."""
    log, go = tmp_path / "log", tmp_path / "go"
    waits = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)"
    session = """
import signal, sys, time
def restore(*_):
    time.sleep(0.3); print("restored", file=open(sys.argv[1], "a"), flush=True); sys.exit(0)
signal.signal(signal.SIGHUP, restore)
print("open", file=open(sys.argv[1], "a"), flush=True)
time.sleep(60)
"""
    with start_init(sys.executable, "-c", waits, prefix=NAMESPACE) as outer:
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        wait_until(lambda: len(children.read_text().split()) == 1)
        first = children.read_text().split()[0]
        inside = ("nsenter", "--target", first, "--pid", "--mount", sys.executable, "-c", session, str(log))
        with subprocess.Popen(inside, start_new_session=True) as other:
            wait_until(lambda: log.exists() and "open" in log.read_text())
            go.touch()
            outer.communicate(timeout=15)
            other.wait(timeout=15)
    assert log.read_text() == "open\nrestored\n" and outer.returncode == 0


def test_a_run_that_takes_long_to_save_is_reported_with_its_loss_before_the_kill(tmp_path: Path) -> None:
    run, log = tmp_path / "my-run", tmp_path / "log"
    run.mkdir()
    events = [{"kind": "step", "step": 10}, {"kind": "checkpoint", "step": 10}, {"kind": "step", "step": 17}]
    (run / "events.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in events))
    (tmp_path / "mg_tui").mkdir()
    (tmp_path / "mg_tui" / "__init__.py").touch()
    # A worker is known by `-m mg_tui.engine`.
    (tmp_path / "mg_tui" / "engine.py").write_text("""
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(3), print("saved", flush=True), sys.exit(0)))
print("running", flush=True)
time.sleep(60)
""")
    script = SCRIPT_LEAVING_A_RUN.replace('"-c", sys.argv[2]', '"-m"').replace("/data/runs/my-run", str(run))
    script = script.replace("start_new_session", f"cwd={str(tmp_path)!r}, start_new_session")
    with start_init(sys.executable, "-c", script, str(log), GARDEN_STOP_SECONDS="4") as init:
        wait_until(lambda: log.exists() and "running" in log.read_text())
        init.terminate()
        _, err = init.communicate(timeout=15)
    assert "Still saving my-run: if it is killed now, it resumes from step 10 and 7 steps are lost." in err
    assert log.read_text().split() == ["running", "saved"]


def test_a_number_of_seconds_that_is_none_is_reported() -> None:
    with start_init(sys.executable, "-c", "pass", GARDEN_STOP_SECONDS="ten") as init:
        _, err = init.communicate(timeout=15)
    assert err == "GARDEN_STOP_SECONDS is 'ten' and not a number of seconds; 10 is used.\n" and init.returncode == 0


def test_problems_of_the_container_are_printed_before_the_command(tmp_path: Path) -> None:
    closed = tmp_path / "file"
    closed.touch()
    home = str(closed / "home")  # below a file: not even root can write there
    with start_init(sys.executable, "-c", "print('hello')", GARDEN_CHECKS="on", MODEL_GARDEN_HOME=home) as init:
        out, err = init.communicate(timeout=15)
    assert out == "hello\n" and f"cannot write to {home} (not a directory)" in err
