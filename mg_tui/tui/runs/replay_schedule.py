"""The schedule of a replay: the events of a journal with the times at which they are due, long pauses cut short."""

import re
from collections.abc import Sequence
from typing import Final

from mg_tui.core.events import Event

MAX_PAUSE_SECONDS: Final = 30.0  # of the run: a run resumed the next day must not pause the replay for a day
SPEEDS: Final = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


_LOGGED_STEP: Final = re.compile(r"step\s+(\d+)\b")


class ReplayLog:
    """The lines of a log up to the replayed step. The log has no times, but a line for each logged step."""

    def __init__(self, lines: Sequence[str]):
        self._lines = lines
        self._next = 0

    def advance(self, step: int, *, finished: bool) -> Sequence[str]:
        """The next lines: up to the first one of a later step, or all that are left when the replay has finished."""
        first = self._next
        while self._next < len(self._lines):
            logged = _LOGGED_STEP.match(self._lines[self._next])
            if logged is not None and int(logged[1]) > step and not finished:
                break
            self._next += 1
        return self._lines[first : self._next]

    def rewind(self) -> None:
        """Back to the beginning."""
        self._next = 0


class ReplaySchedule:
    """The position of a replay, moved by `advance`. Times are seconds of the run since its first event."""

    def __init__(self, events: Sequence[Event]):
        self._events = events
        self._due_times: list[float] = []
        due, previous = 0.0, None
        for event in events:
            # A clock that was set back makes no pause.
            due += 0.0 if previous is None else min(max(event.t - previous, 0.0), MAX_PAUSE_SECONDS)
            previous = event.t
            self._due_times.append(due)
        self.length = due
        self.position = 0.0
        self._next = 0

    @property
    def finished(self) -> bool:
        """Whether everything was played."""
        return self._next >= len(self._events)

    @property
    def timestamp(self) -> float:
        """The replayed moment, in Unix time."""
        if not self._next:
            return self._events[0].t if self._events else 0.0
        return self._events[self._next - 1].t + max(self.position - self._due_times[self._next - 1], 0.0)

    def advance(self, seconds: float) -> Sequence[Event]:
        """Move on by `seconds`; returns the events that became due."""
        self.position = min(self.position + seconds, self.length)
        first = self._next
        while self._next < len(self._due_times) and self._due_times[self._next] <= self.position:
            self._next += 1
        return self._events[first : self._next]

    def rewind(self) -> None:
        """Back to the beginning."""
        self.position, self._next = 0.0, 0
