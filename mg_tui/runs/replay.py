"""Replays a run's journal at another speed: the same events and view with another clock."""

import time
from collections.abc import Callable, Iterator
from typing import Final

from mg_tui.core.events import Event
from mg_tui.runs.elsewhere import has_process, lifetime_of
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader
from mg_tui.runs.state import RunState
from mg_tui.runs.view import RunView

LONGEST_PAUSE: Final = 3.0  # seconds of the viewer's time; the pause before a later resume is shortened to this


class Replay:
    """The counterpart of `RunWatch` for a replay: `view` and `state` at the replayed time.

    Args:
        folder: the run.
        speed: seconds of the run per second of the viewer.
        longest_pause: longest wait of the viewer between two events, in seconds.
        clock, sleep: of the viewer, in seconds.
    """

    def __init__(
        self,
        folder: RunFolder,
        speed: float,
        *,
        longest_pause: float = LONGEST_PAUSE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.folder, self.speed = folder, speed
        self.view = RunView()
        self.silent_seconds: float | None = None  # of the run itself, which is not replayed
        self._longest = longest_pause
        self._clock = clock
        self._sleep = sleep
        self._now = 0.0
        self._over = False

    @property
    def state(self) -> RunState:
        """The run's state at the replayed time; after the last event, its current state."""
        if not self._over:
            return self.view.state(lock_held=True)
        return self.view.state(has_process(self.folder), lifetime_of(self.folder))

    def now(self) -> float:
        """The replayed time, in Unix time."""
        return self._now

    def play(self, frame: float = 0.5) -> Iterator[list[Event]]:
        """Yield the events in their original timing, grouped by `frame` seconds of the viewer; at least once per frame.

        Raises:
            EnvironmentProblem: the journal cannot be read.
        """
        due, before = 0.0, None
        started = updated_at = self._clock()
        waiting: list[Event] = []
        for event in self._events():
            # A clock that was set back makes no pause.
            pause = 0.0 if before is None else max(event.t - before, 0.0) / self.speed
            due += min(pause, self._longest)
            before = event.t
            while started + due > self._clock():
                left = started + due - self._clock()
                if waiting or left > frame:
                    yield self._show(waiting)
                    waiting, updated_at = [], self._clock()
                self._sleep(max(min(left, frame), 0.001))
                self._now = max(self._now, event.t - max(started + due - self._clock(), 0.0) * self.speed)
            waiting.append(event)
            if self._clock() - updated_at >= frame:
                yield self._show(waiting)
                waiting, updated_at = [], self._clock()
        yield self._show(waiting)
        self._over = True
        yield []

    def _events(self) -> Iterator[Event]:
        for events in JournalReader(self.folder.journal_file).chunks():
            yield from events

    def _show(self, events: list[Event]) -> list[Event]:
        self.view.apply(events)
        if events:
            self._now = events[-1].t
        return events
