#!/opt/garden/bin/python -IS
"""Process 1 of the image: starts the command and exits when the command and the last run have ended.

A container ends with its process 1. If that were the dashboard, quitting it would kill the runs it started. This
process therefore stays, forwards signals, reaps orphans, and exits with the command's status once neither the command
nor a run is alive.

- Signals to the container are forwarded to the command. Those of a terminal have reached the command already.
- SIGTERM, which `docker stop` sends, also goes to every run: a run saves a checkpoint and exits.
- When the command has ended and runs continue, a message says how to reattach. Ctrl+C twice then stops the runs.
- Before the command: what is wrong with the container is printed (`start_checks`), and a container that was started
  again resumes its run (`restart`).
- Shortly before `docker stop` gives up waiting, what each run that still saves would lose is printed (`unsaved`).
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent))  # -I leaves it out

import restart
import start_checks
import unsaved

FORWARDED_SIGNALS = {signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
HANDLED_SIGNALS = {signal.SIGCHLD, signal.SIGTERM} | FORWARDED_SIGNALS
SI_KERNEL = 0x80  # si_code of a signal that a terminal sends to its foreground process group
GRACE_SECONDS = 1.0  # how long a process may outlive the command before it counts as still running
SESSION_SECONDS = 2.0  # how long those may take that were started with `docker exec`, at the end
POLL_SECONDS = 1.0  # interval of polling runs that are not children and so send no SIGCHLD
DOUBLE_PRESS_SECONDS = 5.0  # two ctrl+c within this time stop the runs
# `docker stop` kills after 10 seconds unless told otherwise; GARDEN_STOP_SECONDS says what it was told.
STOP_SECONDS = 10.0
STOP_NOTICE_SECONDS = 3.0  # how long before that the message on what would be lost is printed
PR_SET_CHILD_SUBREAPER = 36


class Process(NamedTuple):
    """One living process."""

    pid: int
    parent: int
    session: int
    command: list[str]

    @property
    def is_run(self) -> bool:
        """Whether this is a Model Garden worker or waiter: a session leader started with `-m mg_tui.…`."""
        if self.pid != self.session or "-m" not in self.command:
            return False
        return "".join(self.command[self.command.index("-m") + 1 :][:1]).startswith("mg_tui.")


def list_processes() -> Iterator[Process]:
    """Every visible process except zombies."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ends meanwhile
            state, parent, _group, session = (entry / "stat").read_bytes().rpartition(b")")[2].split()[:4]
            command = (entry / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            if state not in b"ZX":
                yield Process(int(entry.name), int(parent), int(session), command)


class Init:
    """The state of process 1: its command, and the signals it has handled."""

    def __init__(self, command: list[str], stop_seconds: float = STOP_SECONDS) -> None:
        self.own_pid = os.getpid()
        self.stop_seconds = stop_seconds
        self.notice_at: float | None = None  # when to say what is lost, once the container is to stop
        self.signaled: set[int] = set()  # processes that have been sent a signal to end
        self.status: int | None = None  # exit status of the command, once it has ended
        self.ended_at = 0.0  # when the command ended
        self.announced = False  # whether the message on running runs has been printed
        self.stopping: signal.Signals | None = None  # the signal for the runs, once they are to stop
        self.last_interrupt = -DOUBLE_PRESS_SECONDS  # last ctrl+c after the command ended
        self.command = self.start(command)

    def start(self, command: list[str]) -> int:
        """Start the command in this process group, so that it keeps the terminal, with no signal blocked."""
        pid = os.fork()
        if pid:
            return pid
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)
        try:
            os.execvp(command[0], command)
        except OSError as error:
            print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        os._exit(127)

    def other_processes(self) -> list[Process]:
        """What else keeps the container alive: orphans, and runs started from `docker exec`."""
        # Process 1 sees the processes of its container only. Any other process may wait for its children only.
        return [
            process
            for process in list_processes()
            if process.pid not in (self.own_pid, self.command)
            and (process.parent == self.own_pid or (self.own_pid == 1 and process.is_run))
        ]

    def reap(self) -> None:
        """Reap every child that has ended; continue the command when it was stopped (Ctrl+Z), as no shell can."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
                if pid == 0:
                    return
                if os.WIFSTOPPED(status):
                    if pid == self.command:
                        self.send_signal(signal.SIGCONT, pid)
                    continue
                self.signaled.discard(pid)
                if pid == self.command:
                    self.status, self.ended_at = os.waitstatus_to_exitcode(status), time.monotonic()

    def send_signal(self, number: signal.Signals, pid: int) -> None:
        """Send a signal to a process, which may have ended meanwhile."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def stop_all(self, number: signal.Signals | None = None) -> None:
        """Signal the command, every run and every other dashboard to end, each once.

        Runs get SIGTERM when the container is shut down, which makes them `interrupted`, and SIGINT when the user
        stops them.
        """
        self.stopping = self.stopping or number
        others = self.other_processes()
        pids = {process.pid for process in others}
        runs = {process.pid for process in others if process.is_run}
        if self.own_pid == 1:  # dashboards of `docker exec`, whose runs become orphans when they end
            pids |= {process.pid for process in list_processes() if process.pid == process.session != 1}
        if self.status is None:
            pids.add(self.command)
        for pid in pids - self.signaled:
            self.signaled.add(pid)
            self.send_signal(self.stopping if self.stopping and pid in runs else signal.SIGTERM, pid)

    def on_signal(self, number: signal.Signals, from_terminal: bool) -> None:
        """Handle a signal to this process."""
        if number == signal.SIGTERM:
            self.signaled.clear()  # another SIGTERM is forwarded again
            self.notice_at = time.monotonic() + max(0.0, self.stop_seconds - STOP_NOTICE_SECONDS)
            self.stop_all(number)
        elif self.status is None:
            if not from_terminal:
                self.send_signal(number, self.command)
        elif number == signal.SIGINT:
            if time.monotonic() - self.last_interrupt < DOUBLE_PRESS_SECONDS:
                log("Stopping; each run saves a checkpoint first.")
                self.stop_all(number)
            else:
                log("Ctrl+C again stops the runs of this container; each saves a checkpoint first.")
            self.last_interrupt = time.monotonic()

    def wait(self) -> int:
        """Wait until nothing is left; returns the command's exit status in the convention of shells."""
        while True:
            info = signal.sigtimedwait(HANDLED_SIGNALS, POLL_SECONDS)
            if info and info.si_signo != signal.SIGCHLD:
                self.on_signal(signal.Signals(info.si_signo), info.si_code == SI_KERNEL)
            self.reap()
            if self.stopping:
                self.stop_all()  # including processes that have become orphans since
            if self.notice_at is not None and time.monotonic() >= self.notice_at:
                self.notice_at = None
                self.say_what_is_unsaved()
            if self.status is None:
                continue
            others = self.other_processes()
            if not others:
                self.end_sessions()
                return self.status if self.status >= 0 else 128 - self.status
            if not (self.announced or self.stopping) and time.monotonic() - self.ended_at > GRACE_SECONDS:
                self.announced = True
                log(format_still_running(others))

    def end_sessions(self) -> None:
        """Let the dashboards and shells of `docker exec` end, which die with process 1 and would leave their terminals
        as they are.
        """
        until = time.monotonic() + SESSION_SECONDS
        while sessions := [process for process in self.sessions() if time.monotonic() < until]:
            for process in sessions:
                if process.pid not in self.signaled:
                    self.signaled.add(process.pid)
                    self.send_signal(signal.SIGHUP, process.pid)
            time.sleep(0.05)
            self.reap()

    def sessions(self) -> list[Process]:
        """What `docker exec` started: its parent is outside of the container."""
        return [process for process in list_processes() if self.own_pid == 1 != process.pid and process.parent == 0]

    def say_what_is_unsaved(self) -> None:
        """For every run that has not ended yet: what is lost if it is killed now."""
        for process in self.other_processes():
            if process.is_run and (run := Path(process.command[-1])).is_dir():
                log(f"Still saving {unsaved.describe(run)}. `docker stop -t 180` waits longer.")


def format_still_running(others: list[Process]) -> str:
    """The message on what is still running: how to reattach, detach and stop."""
    runs = [Path(process.command[-1]).name for process in others if process.is_run]
    what = f"Still running in this container: {', '.join(runs) or f'{len(others)} processes'}."
    name = socket.gethostname() if re.fullmatch(r"[0-9a-f]{12}", socket.gethostname()) else "CONTAINER"
    return (
        f"{what} The container exits when they end.\n"
        f"  reattach  docker exec -it {name} model-garden\n"
        f"  detach    Ctrl+P Ctrl+Q, or your detach keys\n"
        f"  stop      Ctrl+C twice, or docker stop {name}: a checkpoint is saved first"
    )


def log(text: str) -> None:
    """Print to standard error, which may be closed."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def fit(text: str) -> str:
    """A sentence with its words whole at the width of the terminal, where standard error is one."""
    if not sys.stderr.isatty():
        return text
    columns = shutil.get_terminal_size().columns
    return textwrap.fill(text, columns, break_long_words=False, break_on_hyphens=False)


def become_subreaper() -> None:
    """Adopt the orphans among descendants, as process 1 does by default (needed with `docker run --init`)."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def use_writable_temporary_folder() -> None:
    """With a read-only root and no tmpfs, temporary files go to the volume."""
    home = Path(os.environ.get("MODEL_GARDEN_HOME", "/data"))
    if "TMPDIR" not in os.environ and not os.access("/tmp", os.W_OK):
        with contextlib.suppress(OSError):
            (home / "tmp").mkdir(parents=True, exist_ok=True)
            os.environ["TMPDIR"] = str(home / "tmp")


def read_stop_seconds(text: str | None) -> float:
    """GARDEN_STOP_SECONDS; docker's default when it is not set or not a number."""
    try:
        return float(text) if text else STOP_SECONDS
    except ValueError:
        log(f"GARDEN_STOP_SECONDS is {text!r} and not a number of seconds; {STOP_SECONDS:.0f} is used.")
        return STOP_SECONDS


def run(command: list[str]) -> int:
    """Be process 1 of this command; returns its exit status. Signals have to be blocked."""
    use_writable_temporary_folder()
    if os.environ.get("GARDEN_CHECKS", "on").lower() not in ("off", "0", "false", "no"):
        for problem in start_checks.find_problems(start_checks.gather(os.environ)):
            log(fit(problem))
    starts = restart.Starts(command, os.environ, socket.gethostname())
    plan = starts.plan()
    if plan.message:
        log(plan.message)
    status = Init(plan.command, read_stop_seconds(os.environ.get("GARDEN_STOP_SECONDS"))).wait()
    if plan.command[:1] != ["sleep"]:
        starts.ended(status)
    return status


def main() -> NoReturn:
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)
    if os.getpid() != 1:
        become_subreaper()
    sys.exit(run(sys.argv[1:] or ["model-garden"]))


if __name__ == "__main__":
    main()
