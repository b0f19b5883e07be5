"""Tasks in processes of their own, with time limits: a crash or hang affects no other task. Imports no torch.

A child is forked from a parent that has imported the libraries and has not touched CUDA; alternatively it is a new
interpreter (`SpawnCommand`). It leads a process group, which is killed when its time is over, and it dies with its
parent. It reports through a pipe, one JSON value per line.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tasks import BenchmarkSetting, Task, TaskReport, TaskSkipped, merge_message

_GRACE = 0.1  # of a task's limit, at most 5 s: by then it should have ended by itself
_PR_SET_PDEATHSIG = 1
_LOG_LINES = 12

# From a task's name, the write end of the pipe and the time limit in seconds to the command of a new interpreter.
SpawnCommand = Callable[[str, int, float], Sequence[str]]


class TaskProcess:
    """A running task. `values` are those reported so far; `status` is set once it has ended."""

    def __init__(
        self, task: Task, setting: BenchmarkSetting, limit: float, log: Path, spawn_command: SpawnCommand | None = None
    ):
        self.task = task
        self.limit = limit
        self.values: dict[str, Any] = {}
        self.status: str | None = None
        self.why: str | None = None
        self.cpu_seconds: float | None = None
        self.started = time.monotonic()
        self._log = log
        self._unparsed = b""
        self._outcome: dict[str, Any] | None = None
        read_end, write_end = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            with contextlib.suppress(BaseException):  # the child must never return into the parent's code
                os.close(read_end)
                _set_up_child(log)
                if spawn_command is not None:
                    os.set_inheritable(write_end, True)
                    command = list(spawn_command(task.name, write_end, limit))
                    os.execv(command[0], command)
                run_task(task, setting, limit, write_end)
            os._exit(1)
        os.close(write_end)
        self._pipe = read_end
        self.open = True

    def fileno(self) -> int:
        """For select."""
        return self._pipe

    @property
    def seconds(self) -> float:
        """Since its start."""
        return time.monotonic() - self.started

    @property
    def seconds_left(self) -> float:
        """Until its limit."""
        return self.limit - self.seconds

    def read(self) -> None:
        """Read the messages that are in the pipe."""
        data = os.read(self._pipe, 1 << 20)
        self.open = bool(data)
        lines = (self._unparsed + data).split(b"\n")
        self._unparsed = lines.pop()
        for line in lines:
            message = json.loads(line)
            if "status" in message:
                self._outcome = message
            else:
                merge_message(self.values, message)

    def poll(self) -> None:
        """Check whether the process has ended; processes that it has started do not matter."""
        pid, status, usage = os.wait4(self._pid, os.WNOHANG)
        if pid:
            self.cpu_seconds = usage.ru_utime + usage.ru_stime
            code = os.waitstatus_to_exitcode(status)
            reason = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
            self._finish("killed" if code < 0 else "crashed", f"the process ended with {reason}")

    def kill(self, status: str, why: str) -> None:
        """End it, with everything that it has started, unless it has ended."""
        if self.status is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        deadline = time.monotonic() + 5.0
        while not os.waitpid(self._pid, os.WNOHANG)[0] and time.monotonic() < deadline:
            time.sleep(0.01)  # a process that hangs in the driver is left behind
        self._finish(status, why)

    def result(self) -> dict[str, Any]:
        """Its entry in the results file."""
        result: dict[str, Any] = {"status": self.status or "running", "seconds": round(self.seconds, 1)}
        result |= {"limit": round(self.limit, 1), "cpu_seconds": self.cpu_seconds and round(self.cpu_seconds, 1)}
        result |= ({"why": self.why} if self.why else {}) | {"values": self.values}
        if self.status not in (None, "done", "skipped"):
            result["log"] = self._log_tail()
        return result

    def _finish(self, status: str, why: str) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)  # processes that it has left running
        os.set_blocking(self._pipe, False)
        with contextlib.suppress(BlockingIOError):
            while self.open:
                self.read()
        os.close(self._pipe)
        self.open = False
        self.status, self.why = status, why
        if self._outcome is not None:  # what it reported itself takes precedence
            self.status, self.why = self._outcome["status"], self._outcome.get("why")

    def _log_tail(self) -> list[str]:
        try:
            return self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        except OSError:
            return []


def run_task(task: Task, setting: BenchmarkSetting, limit: float, pipe: int) -> NoReturn:
    """Run a task in this process, report through the pipe, and exit."""

    def send(message: Any) -> None:
        data = json.dumps(message, default=str).encode() + b"\n"
        while data:
            data = data[os.write(pipe, data) :]

    try:
        task.run(TaskReport(send, time.monotonic() + limit - min(5.0, _GRACE * limit)), setting)
        send({"status": "done"})
    except TaskSkipped as skipped:
        send({"status": "skipped", "why": str(skipped)})
    except BaseException as error:
        traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        send({"status": "failed", "why": f"{type(error).__name__}: {lines[0][:400]}"})
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # an orderly shutdown of torch takes seconds


def run_forked(run: Callable[[TaskReport], None], report: TaskReport, name: str) -> dict[str, Any]:
    """Run a function in a forked process of the same group, wait for it, and return the values that it reported.

    For tasks that consist of several training runs, each of which needs a process that has not touched CUDA.

    Raises:
        RuntimeError: it failed.
        TaskSkipped: it was skipped.
    """
    task = Task(name, lambda nested, _setting: run(nested))
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        run_task(task, BenchmarkSetting(True, "", Path()), max(report.seconds_left(), 1.0), write_end)
    os.close(write_end)
    values: dict[str, Any] = {}
    outcome: dict[str, Any] = {}
    with open(read_end, encoding="utf-8") as lines:  # noqa: PTH123 - a pipe
        for line in lines:
            message = json.loads(line)
            if "status" in message:
                outcome = message
            else:
                merge_message(values, message)
    _pid, status = os.waitpid(pid, 0)
    if outcome.get("status") == "skipped":
        raise TaskSkipped(outcome["why"])
    if outcome.get("status") != "done":
        code = os.waitstatus_to_exitcode(status)
        raise RuntimeError(f"{name}: {outcome.get('why') or f'the process ended with code {code}'}")
    return values


def wait_for_messages(processes: Sequence[TaskProcess], longest: float = 0.1) -> None:
    """Read what the processes report, for at most `longest` seconds; kill those whose time is over."""
    timeout = max(min([longest, *(process.seconds_left for process in processes)]), 0.0)
    ready, _, _ = select.select([process for process in processes if process.open], [], [], timeout)
    for process in ready:
        process.read()
    for process in processes:
        process.poll()
        if process.status is None and process.seconds_left <= 0:
            process.kill("out of time", f"killed after {process.limit:.0f} s")


def _set_up_child(log: Path) -> None:
    """A process group of its own, output to a log, and SIGKILL when the parent dies."""
    os.setsid()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
