"""Reads a journal incrementally.

Readers continue from their last position. A last line without newline is left for the next read; an invalid line is
counted and skipped. `thin=True` is for journals of a million steps: charts show a few thousand points, so of a long
stretch of step events only every k-th and the newest are parsed.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.core.events import Event

THIN_ABOVE: Final = 20_000  # step events per read; fewer are all parsed
THIN_TO: Final = 10_000
_CHUNK_BYTES: Final = 4 << 20


class JournalReader:
    """Reads a journal incrementally. Any number of readers may read while it is written.

    `corrupt_lines` counts invalid lines, `missing` gaps in the event numbers; both mean that the file was edited or
    damaged.
    """

    def __init__(self, path: Path):
        self.path = path
        self._start_over()

    def read_new(self) -> list[Event]:
        """Every complete event since the last call, in order; empty when there is none or the file does not exist yet.

        Raises:
            EnvironmentProblem: the file exists and cannot be read.
        """
        return [event for events in self.chunks() for event in events]

    def chunks(self, *, thin: bool = False, ends_only: int | None = None) -> Iterator[list[Event]]:
        """The same, a few megabytes at a time.

        Args:
            thin: of a long stretch of step events parse only some, always including the newest.
            ends_only: in a file larger than twice this many bytes, read this much of its beginning and its end and
                skip the middle; for a list of many runs.
        """
        try:
            with self.path.open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                if size < self.offset:  # replaced by an older copy
                    self._start_over()
                if ends_only is not None and size - self.offset > 2 * ends_only:
                    yield from self._lines_until(file.fileno(), self.offset + ends_only, thin=thin)
                    self._pass_over(file.fileno(), size - ends_only, size)
                yield from self._lines_until(file.fileno(), size, thin=thin)
        except FileNotFoundError:
            return
        except OSError as error:
            raise EnvironmentProblem("Cannot read the journal.", where=str(self.path), why=error.strerror) from error

    def _start_over(self) -> None:
        self.offset = 0
        self.corrupt_lines = 0
        self.missing = 0
        self.last_number = 0
        self._passed = 0  # lines since the last parsed event: skipped by thinning, or corrupt
        self._numbers_known = True

    def _lines_until(self, fd: int, end: int, *, thin: bool) -> Iterator[list[Event]]:
        stride: int | None = None if thin else 1
        while self.offset < end:
            data = read_span(fd, self.offset, min(end, self.offset + _CHUNK_BYTES))
            cut = data.rfind(b"\n")
            if cut < 0 and len(data) == _CHUNK_BYTES:  # one line of several megabytes
                data = read_span(fd, self.offset, end)
                cut = data.rfind(b"\n")
            if cut < 0:
                return
            lines = data[:cut].split(b"\n")
            if stride is None:
                expected = len(lines) * (end - self.offset) // (cut + 1)
                stride = 1 if expected <= THIN_ABOVE else expected // THIN_TO
            self.offset += cut + 1
            yield self._parse(lines, stride)

    def _pass_over(self, fd: int, target: int, end: int) -> None:
        skipped = read_span(fd, target, end).find(b"\n")
        if skipped >= 0 and target > self.offset:
            self.offset = target + skipped + 1
            self._numbers_known = False

    def _parse(self, lines: list[bytes], stride: int) -> list[Event]:
        if stride > 1:
            return self._parse_thin(lines, stride)
        events: list[Event] = []
        for line in lines:
            self._take(line, events)
        return events

    def _parse_thin(self, lines: list[bytes], stride: int) -> list[Event]:
        events: list[Event] = []
        newest_step = next((i for i in range(len(lines) - 1, -1, -1) if _is_step(lines[i])), -1)
        countdown = 0
        for index, line in enumerate(lines):
            if _is_step(line) and index != newest_step and line.endswith(b"}"):
                if countdown:
                    countdown -= 1
                    self._passed += 1
                    continue
                countdown = stride - 1
            self._take(line, events)
        return events

    def _take(self, line: bytes, events: list[Event]) -> None:
        try:
            event = Event.from_line(line)
        except (ValueError, OverflowError, RecursionError):
            event = None
        if event is None or event.n <= self.last_number:
            self.corrupt_lines += 1
            self._passed += 1
            return
        if self._numbers_known:
            self.missing += max(0, event.n - self.last_number - self._passed - 1)
        self.last_number, self._passed, self._numbers_known = event.n, 0, True
        events.append(event)


def _is_step(line: bytes) -> bool:
    return line.find(b'"kind":"step"', 0, 80) > 0


def read_span(fd: int, start: int, end: int) -> bytes:
    """The bytes from `start` to `end`, or to the end of the file if that comes first."""
    parts: list[bytes] = []
    while start < end:
        part = os.pread(fd, end - start, start)
        if not part:
            break
        parts.append(part)
        start += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
