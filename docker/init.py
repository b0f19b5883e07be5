#!/opt/garden/bin/python -IS
"""Process 1 of the image: starts the command and stays until the last run has ended.

A container dies with its process 1. Were that the dashboard, leaving it would kill the runs it started. So this stays,
does what a process 1 owes (passes signals on, collects orphans), and ends with the command's exit status once neither
the command nor a run is alive.

- A signal for the container goes to the command. What a terminal sends has reached the command already.
- SIGTERM, which is what `docker stop` sends, goes to every run as well: a run saves a checkpoint and ends.
- When the command has ended and runs go on, standard error says how to come back. Ctrl+C twice then stops the runs.
"""

import contextlib
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

FORWARDED_SIGNALS = {signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
HANDLED_SIGNALS = {signal.SIGCHLD, signal.SIGTERM} | FORWARDED_SIGNALS
SI_KERNEL = 0x80  # si_code of what a terminal sends to everybody in its foreground
SETTLE_SECONDS = 1.0  # seconds a process may outlive the command before it counts as going on
POLL_SECONDS = 1.0  # seconds between looks at runs that are not children, and so end without a SIGCHLD
DOUBLE_PRESS_SECONDS = 5.0  # seconds within which a second ctrl+c means it
PR_SET_CHILD_SUBREAPER = 36


class Process(NamedTuple):
    """One living process."""

    pid: int
    parent: int
    session: int
    command: list[str]

    @property
    def is_run(self) -> bool:
        """Whether this is a program of ours that was started to outlive who started it."""
        if self.pid != self.session or "-m" not in self.command:
            return False
        return "".join(self.command[self.command.index("-m") + 1 :][:1]).startswith("mg_tui.")


def list_processes() -> Iterator[Process]:
    """Every process that can be seen and is no zombie."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ends while we look
            state, parent, _group, session = (entry / "stat").read_bytes().rpartition(b")")[2].split()[:4]
            command = (entry / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            if state not in b"ZX":
                yield Process(int(entry.name), int(parent), int(session), command)


class Init:
    """The state of process 1: its command, and what it was asked for."""

    def __init__(self, command: list[str]) -> None:
        self.own_pid = os.getpid()
        self.signaled: set[int] = set()  # processes that were asked to end
        self.status: int | None = None  # exit status of the command, once it has one
        self.ended_at = 0.0  # when that was
        self.announced = False  # whether it was said that runs go on
        self.stopping: signal.Signals | None = None  # what those who go on are told to end by
        self.last_interrupt = -DOUBLE_PRESS_SECONDS  # when ctrl+c was last pressed with the command gone
        self.command = self.start(command)

    def start(self, command: list[str]) -> int:
        """Start the command with every signal as it was, in our own process group: the terminal stays the same."""
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
        """What keeps the container alive beside the command: orphans, and runs started from `docker exec`."""
        # As process 1 all that can be seen is in this container. Anywhere else only children are ours.
        return [
            process
            for process in list_processes()
            if process.pid not in (self.own_pid, self.command)
            and (process.parent == self.own_pid or (self.own_pid == 1 and process.is_run))
        ]

    def reap(self) -> None:
        """Take the exit status of every child that has ended; wake the command where nobody else can (Ctrl+Z)."""
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
        """Send a signal to a process that may have just ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def stop_all(self, number: signal.Signals | None = None) -> None:
        """Ask the command, every run and every other dashboard to end, each once.

        Runs get SIGTERM when the container is shut down, which makes them interrupted, and SIGINT when a person wants
        them stopped.
        """
        self.stopping = self.stopping or number
        others = self.other_processes()
        found = {process.pid for process in others}
        runs = {process.pid for process in others if process.is_run}
        if self.own_pid == 1:  # dashboards of `docker exec`, whose runs become ours when they end
            found |= {process.pid for process in list_processes() if process.pid == process.session != 1}
        if self.status is None:
            found.add(self.command)
        for pid in found - self.signaled:
            self.signaled.add(pid)
            self.send_signal(self.stopping if self.stopping and pid in runs else signal.SIGTERM, pid)

    def on_signal(self, number: signal.Signals, from_terminal: bool) -> None:
        """Act on a signal that came to us."""
        if number == signal.SIGTERM:
            self.signaled.clear()  # asked again, it is passed on again
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
        """Stay until nothing is left. Gives the command's exit status, as a shell gives it."""
        while True:
            info = signal.sigtimedwait(HANDLED_SIGNALS, POLL_SECONDS)
            if info and info.si_signo != signal.SIGCHLD:
                self.on_signal(signal.Signals(info.si_signo), info.si_code == SI_KERNEL)
            self.reap()
            if self.stopping:
                self.stop_all()  # what its end has made ours
            if self.status is None:
                continue
            others = self.other_processes()
            if not others:
                return self.status if self.status >= 0 else 128 - self.status
            if not (self.announced or self.stopping) and time.monotonic() - self.ended_at > SETTLE_SECONDS:
                self.announced = True
                log(format_still_running(others))


def format_still_running(others: list[Process]) -> str:
    """How to come back to what the command leaves behind."""
    runs = [Path(process.command[-1]).name for process in others if process.is_run]
    what = f"Still running in this container: {', '.join(runs) or f'{len(others)} processes'}."
    name = socket.gethostname() if re.fullmatch(r"[0-9a-f]{12}", socket.gethostname()) else "CONTAINER"
    return (
        f"{what} The container exits when they end.\n"
        f"  reattach docker exec -it {name} model-garden\n"
        f"  detach Ctrl+P Ctrl+Q, or your detach keys\n"
        f"  stop         Ctrl+C twice, or docker stop {name}: a checkpoint is saved first"
    )


def log(text: str) -> None:
    """Tell whoever still looks."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def become_subreaper() -> None:
    """Be the parent of every orphan below us, which only process 1 is by itself (`docker run --init`)."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def main() -> NoReturn:
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)
    if os.getpid() != 1:
        become_subreaper()
    sys.exit(Init(sys.argv[1:] or ["model-garden"]).wait())


if __name__ == "__main__":
    main()
