"""The process of an engine that is another program: started on a free loopback port, watched, and ended."""

import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.core.text import one_line
from mg_tui.runs.worker_log import read_tail, strip_terminal_codes

START_SECONDS: Final = 1_800.0  # vLLM may download a model, and compiles for minutes
_LAST_LINES: Final = 5
_READ_LINES: Final = 60
# llama-server begins a line with the time since its start and a letter: 0.00.105.614 E.
_LLAMA_LINE: Final = re.compile(r"^[\d.]+ ([DIWE]) +(?=\S)")
_SUPERVISOR: Final = "mg_tui.engine.serving.supervisor"
_ATTEMPTS: Final = 3  # with another port each, when somebody took the one that was free a moment ago
# What vLLM (Python's and Rust's sockets) and llama-server say of a port that is taken.
_PORT_TAKEN: Final = ("address already in use", "couldn't bind", "could not bind", "failed to bind")


class PortTaken(EnvironmentProblem):
    """Another program listens on the port."""


class UpstreamProcess:
    """The program, with its output in a file.

    Args:
        words: its command line.
        port: that it listens on.
        log: where its output goes.
        environment: variables beside ours.
    """

    def __init__(self, words: Sequence[str], port: int, log: Path, environment: Mapping[str, str]):
        self.command = Path(words[0]).name
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", _SUPERVISOR, *words],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env={**os.environ, **environment},
                )
        except OSError as error:
            raise EnvironmentProblem(f"{self.command} cannot be started.", why=error.strerror) from error

    def wait_until_ready(self, key: str, poll: Callable[[], None], *, seconds: float = START_SECONDS) -> None:
        """Wait until it answers its health check.

        Args:
            key: of its API.
            poll: called often; what it raises ends the waiting.
            seconds: to wait at most.

        Raises:
            PortTaken: it ended, because another program listens on its port.
            EnvironmentProblem: it ended, with its last words; or it was not ready in time.
        """
        deadline = time.monotonic() + seconds
        with httpx.Client(trust_env=False, headers={"Authorization": f"Bearer {key}"}, timeout=5) as client:
            while True:
                poll()
                if (problem := self.ended()) is not None:
                    taken = any(words in problem.casefold() for words in _PORT_TAKEN)
                    raise (PortTaken if taken else EnvironmentProblem)(
                        f"{self.command} did not start.", where=str(self.log), why=problem, hint=_hint(problem)
                    )
                with contextlib.suppress(httpx.HTTPError):
                    if client.get(f"{self.url}/health").status_code == 200:
                        return
                if time.monotonic() > deadline:
                    raise EnvironmentProblem(
                        f"{self.command} was not ready within {seconds:g} s.",
                        where=str(self.log),
                        why=self.last_words(),
                    )
                time.sleep(0.2)

    def ended(self) -> str | None:
        """How it ended, with its last words; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        if code == 128 + signal.SIGKILL:  # it had no time for words
            return "killed by signal 9: by the system for want of memory, or by somebody"
        how = f"killed by signal {code - 128}" if code > 128 else f"exit code {code}"
        return f"{how}; it said: {words}" if (words := self.last_words()) else how

    def last_words(self) -> str:
        """The end of its output, on one line: what it marks as errors, where it marks lines."""
        lines = [strip_terminal_codes(line).strip() for line in read_tail(self.log, _READ_LINES)]
        errors = [line for line in lines if (mark := _LLAMA_LINE.match(line)) is not None and mark[1] == "E"]
        said = [_LLAMA_LINE.sub("", line) for line in (errors or lines)[-_LAST_LINES:]]
        return " | ".join(" ".join(one_line(line, limit=200).split()) for line in said if line)

    def close(self) -> None:
        """End it: its supervisor does, when its input closes."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def start_upstream(
    words: Callable[[int], Sequence[str]],
    log: Path,
    poll: Callable[[], None],
    *,
    key_variable: str,
    environment: Mapping[str, str] | None = None,
) -> tuple[UpstreamProcess, str]:
    """Start the program and wait until it is ready; returns it with the key of its API.

    Args:
        words: its command line, from the port that it listens on.
        log: where its output goes.
        poll: called often; what it raises ends the waiting.
        key_variable: of the environment, that the program reads its key from: other users of this machine do not get
            past our gate that way.
        environment: further variables.

    Raises:
        EnvironmentProblem: it ended, or was not ready in time.
    """
    key = secrets.token_urlsafe(24)
    for attempt in range(_ATTEMPTS):
        port = free_port()
        process = UpstreamProcess(words(port), port, log, {**(environment or {}), key_variable: key})
        try:
            process.wait_until_ready(key, poll)
        except BaseException as error:
            process.close()
            if isinstance(error, PortTaken) and attempt + 1 < _ATTEMPTS:
                continue
            raise
        return process, key
    raise AssertionError  # the last attempt returns or raises


def _hint(problem: str) -> str | None:
    if "memory" not in problem.lower():
        return None
    from mg_tui.engine.serving.gpu_holders import gpu_holders

    holders = gpu_holders()
    return f"free the GPU: {holders}" if holders else "free memory of the GPU, or serve a smaller model"


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
