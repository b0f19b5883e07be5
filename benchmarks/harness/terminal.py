"""A program in a pseudo terminal, as somebody at its other end sees it: what it sends and when, and what it costs."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
QUIET_SECONDS = 0.025  # seconds without output that end an update


@dataclass(frozen=True)
class TerminalOutput:
    """What came in some seconds: bytes, updates (output with a pause after it), and CPU seconds of the process."""

    seconds: float
    bytes_sent: int
    updates: int
    cpu_seconds: float

    @property
    def bytes_per_second(self) -> float:
        return self.bytes_sent / self.seconds

    @property
    def updates_per_second(self) -> float:
        return self.updates / self.seconds

    @property
    def cpu_percent(self) -> float:
        """Of one core."""
        return 100 * self.cpu_seconds / self.seconds


class PseudoTerminal:
    """`command` in a terminal of `columns` x `rows`; a context that ends it."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], columns: int = 80, rows: int = 24):
        self.started = time.perf_counter()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            for name in ("COLUMNS", "LINES", "SSH_CONNECTION", "SSH_TTY"):
                os.environ.pop(name, None)
            os.execve(command[0], list(command), {**os.environ, "TERM": "xterm-256color", **environ})
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)

    def send_keys(self, keys: str) -> None:
        """Type."""
        os.write(self.fd, keys.encode())

    def read(self, seconds: float) -> bytes:
        """What comes within `seconds`; returns at once when something is there."""
        ready, _, _ = select.select([self.fd], [], [], max(seconds, 0.0))
        return os.read(self.fd, 1 << 16) if ready else b""

    def wait_for(self, expected: str, seconds: float = 60.0) -> float:
        """Seconds until `wanted` has come since this call; what comes in the same piece after it is dropped.

        Raises:
            TimeoutError: it does not.
        """
        began, observed = time.perf_counter(), b""
        while expected.encode() not in observed:
            left = seconds - (time.perf_counter() - began)
            if left <= 0:
                raise TimeoutError(f"{expected!r} did not come; {observed[-400:]!r}")
            observed = observed[-4096:] + self.read(left)
        return time.perf_counter() - began

    def wait_quiet(self, quiet: float = 0.08) -> None:
        """Read until nothing has come for `quiet` seconds."""
        while self.read(quiet):
            pass

    def measure(self, seconds: float) -> TerminalOutput:
        """Only look."""
        began, cpu, count, updates, last = time.perf_counter(), self._cpu(), 0, 0, 0.0
        while (now := time.perf_counter()) - began < seconds:
            piece = self.read(began + seconds - now)
            if piece:
                count += len(piece)
                updates += time.perf_counter() - last > QUIET_SECONDS
                last = time.perf_counter()
        return TerminalOutput(time.perf_counter() - began, count, updates, self._cpu() - cpu)

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS
