"""A worker's log: its last lines, and new lines."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_BLOCK_BYTES: Final = 64 << 10


def read_tail(path: Path, lines: int) -> list[str]:
    """The last `lines` lines; empty when there is no log. Text only: it may still hold control characters."""
    return LogReader(path).last(lines)


class LogReader:
    """Reads a log from its end, then new lines. Works while the log is being written."""

    def __init__(self, path: Path):
        self.path = path
        self._offset = 0
        self._rest = b""

    def last(self, lines: int) -> list[str]:
        """The last `lines` lines; `new` continues from there."""
        try:
            with self.path.open("rb") as file:
                end = start = file.seek(0, os.SEEK_END)
                data = b""
                while start > 0 and data.count(b"\n") <= lines:
                    size = min(_BLOCK_BYTES, start)
                    start -= size
                    file.seek(start)
                    data = file.read(size) + data
        except OSError:
            return []
        self._offset, self._rest = end, b""
        last_lines = data.decode("utf-8", "replace").splitlines()
        return last_lines[-lines:] if lines > 0 else []

    def new(self) -> Iterator[str]:
        """Complete lines added since; a line without newline waits for the rest."""
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._offset:
                    self._offset, self._rest = 0, b""
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace").rstrip("\r")


def strip_terminal_codes(line: str) -> str:
    """A line without color and cursor codes; of a redrawn progress bar, its last state."""
    bare = _TERMINAL_CODES.sub("", line)
    return next((part for part in reversed(bare.split("\r")) if part.strip()), "")


_TERMINAL_CODES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
