"""A feed that replays a run's journal instead of following it."""

import time
from typing import TYPE_CHECKING, Final

from textual.message import Message
from textual.message_pump import MessagePump

from mg_tui.runs.folder import RunFolder
from mg_tui.tui.runs.feeds import RunFeed, RunUpdated
from mg_tui.tui.runs.replay_schedule import SPEEDS, ReplayLog, ReplaySchedule

if TYPE_CHECKING:
    from mg_tui.tui.runs.snapshot import RunDetail

DEFAULT_SPEED: Final = SPEEDS.index(30.0)
_MAX_TICK_SECONDS: Final = 3.0  # a longer time between two reads counts as this much


class ReplayUpdated(RunUpdated):
    """The run at the replayed moment, and the progress of the replay: seconds played, seconds in total.

    `rewound`: the replay is at its start again, and so is its log.
    """

    def __init__(
        self, detail: "RunDetail", log: tuple[str, ...], position: float, length: float, *, rewound: bool = False
    ) -> None:
        super().__init__(detail, log)
        self.position, self.length, self.rewound = position, length, rewound


class ReplayFeed(RunFeed):
    """Replays a journal; the screen sets `speed`, `playing` and `jump_to`."""

    subject = "the replay"

    def __init__(self, target: MessagePump, folder: RunFolder, seconds: float) -> None:
        super().__init__(target, folder, seconds)
        self.speed = SPEEDS[DEFAULT_SPEED]
        self.playing = True
        self.jump_to: str | None = None  # "start" or "end"
        self._schedule: ReplaySchedule | None = None
        self._replay_log: ReplayLog | None = None
        self._last_read = 0.0

    def read(self) -> Message | None:
        from mg_tui.runs.elsewhere import has_process
        from mg_tui.runs.journal import JournalReader
        from mg_tui.runs.view import RunView
        from mg_tui.tui.runs.snapshot import build_curves, build_detail, build_row

        now, last_read = time.monotonic(), self._last_read
        self._last_read = now
        jump, self.jump_to = self.jump_to, None  # taken at once: a later request is for the next read
        rewound = self._schedule is None or jump == "start"
        if self._schedule is None or rewound:
            chunks = JournalReader(self._folder.journal_file).chunks() if self._schedule is None else ()
            self._schedule = self._schedule or ReplaySchedule([event for events in chunks for event in events])
            self._schedule.rewind()
            self._replay_log = self._replay_log or ReplayLog(self._read_log())
            self._replay_log.rewind()
            self._view, last_read = RunView(all_fields=True), now
        elif not self.playing and jump is None:
            return None
        passed = self._schedule.length if jump == "end" else min(now - last_read, _MAX_TICK_SECONDS) * self.speed
        events = self._schedule.advance(passed)
        self._view.apply(events)
        state = self._view.state(not self._schedule.finished or has_process(self._folder))
        moment, spec = self._schedule.timestamp, self._spec(self._view.spec_digest)
        row = build_row(self._folder, self._view, state, spec, now=moment)
        detail = build_detail(row, self._view, spec, build_curves(self._view), now=moment)
        if self._schedule.finished:
            self.playing = False
        assert self._replay_log is not None
        log = tuple(self._replay_log.advance(self._view.step, finished=self._schedule.finished))
        return ReplayUpdated(detail, log, self._schedule.position, self._schedule.length, rewound=rewound)
