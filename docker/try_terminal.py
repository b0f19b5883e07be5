"""A command in a terminal of its own, for try.sh: wait for texts on its screen, type, and see how it ends.

    try_terminal.py 'wait Runs' 'type q' -- docker run -it model-garden-tui

Steps: `wait TEXT`, `type TEXT` (Python's escapes work: \\x1d is ctrl+]), `sleep SECONDS`, `hang-up` (the terminal is
gone), `end` (wait for the end). Exits with the command's status after `end`, and with 1 if a text does not appear.
"""

import codecs
import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time

PATIENCE_SECONDS = 120.0
CONTROL = re.compile(rb"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-_])")


class Terminal:
    """A command in a terminal of 120 by 40 cells."""

    def __init__(self, command: list[str]) -> None:
        self.shown = b""
        self.seen = 0  # characters up to the end of the last text that was waited for
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvp(command[0], command)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))

    def read(self, seconds: float) -> bool:
        """Read what is printed within some seconds; False at the end of the command."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            part = os.read(self.fd, 1 << 16)
        except OSError:
            return False
        self.shown += part
        if b"\x1b[6n" in part:  # asked where its cursor is
            os.write(self.fd, b"\x1b[1;1R")
        return bool(part)

    def text(self) -> str:
        """Everything printed so far, without control sequences."""
        return CONTROL.sub(b"", self.shown).decode(errors="replace")

    def wait(self, text: str) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        while text not in self.text()[self.seen :]:
            if time.monotonic() > until or not self.read(0.5):
                sys.exit(f"{text!r} does not appear; the end of what is shown:\n{self.text()[-2000:]}")
        self.seen = self.text().index(text, self.seen) + len(text)

    def end(self) -> int:
        until = time.monotonic() + PATIENCE_SECONDS
        while self.read(0.5):
            if time.monotonic() > until:
                sys.exit(f"it does not end; the end of what is shown:\n{self.text()[-2000:]}")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def main() -> None:
    at = sys.argv.index("--")
    terminal = Terminal(sys.argv[at + 1 :])
    for step in sys.argv[1:at]:
        word, _, rest = step.partition(" ")
        if word == "wait":
            terminal.wait(rest)
        elif word == "type":
            os.write(terminal.fd, codecs.decode(rest, "unicode_escape").encode())
        elif word == "sleep":
            until = time.monotonic() + float(rest)
            while (left := until - time.monotonic()) > 0 and terminal.read(left):
                pass
        elif word == "hang-up":
            os.close(terminal.fd)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(terminal.pid, 0)
            return
        elif word == "end":
            sys.exit(terminal.end())
        else:
            sys.exit(f"unknown step: {step}")


if __name__ == "__main__":
    main()
