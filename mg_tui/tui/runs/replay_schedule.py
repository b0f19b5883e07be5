"""A journal to be played: events with the times at which they are due, long pauses cut short."""

from collections.abc import Sequence
from typing import Final

from mg_tui.core.events import Event

MAX_PAUSE_SECONDS: Final = 30.0  # seconds of the run: one that was resumed the next day is not waited for
SPEEDS: Final = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


class ReplaySchedule:
    """Where a replay is; `advance` moves it. Times are seconds of the run since its first event."""

    def __init__(self, events: Sequence[Event]):
        self._events = events
        self._due_times: list[float] = []
        at, before = 0.0, None
        for event in events:
            # A clock that was set back makes a pause of nothing.
            at += 0.0 if before is None else min(max(event.t - before, 0.0), MAX_PAUSE_SECONDS)
            before = event.t
            self._due_times.append(at)
        self.length = at
        self.position = 0.0
        self._next = 0

    @property
    def finished(self) -> bool:
        """Whether everything was played."""
        return self._next >= len(self._events)

    @property
    def timestamp(self) -> float:
        """The moment that is shown, in Unix time."""
        if not self._next:
            return self._events[0].t if self._events else 0.0
        return self._events[self._next - 1].t + max(self.position - self._due_times[self._next - 1], 0.0)

    def advance(self, seconds: float) -> Sequence[Event]:
        """Move on; returns the events that became due."""
        self.position = min(self.position + seconds, self.length)
        first = self._next
        while self._next < len(self._due_times) and self._due_times[self._next] <= self.position:
            self._next += 1
        return self._events[first : self._next]

    def rewind(self) -> None:
        """Back to the beginning."""
        self.position, self._next = 0.0, 0
