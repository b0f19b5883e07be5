"""A run's journal played as it was: the screen of a run whose time somebody else turns."""

import time
from typing import TYPE_CHECKING, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.message_pump import MessagePump
from textual.reactive import reactive

from mg_tui.runs.folder import RunFolder
from mg_tui.tui import formatting
from mg_tui.tui.actions import bindings
from mg_tui.tui.feeds import RunFeed, RunUpdated
from mg_tui.tui.runs.replay_schedule import SPEEDS, ReplaySchedule
from mg_tui.tui.screens.run import RunScreen
from mg_tui.tui.text_charts import meter
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, justify, line

if TYPE_CHECKING:
    from mg_tui.tui.runs.snapshot import RunDetail

_DEFAULT_SPEED: Final = SPEEDS.index(30.0)
_MAX_TICK_SECONDS: Final = 3.0  # seconds without a look after which the time in between does not count


class ReplayUpdated(RunUpdated):
    """The run at the moment that is shown, and how far the replay is: seconds played, seconds there are."""

    def __init__(self, detail: "RunDetail", log: tuple[str, ...], at: float, length: float) -> None:
        super().__init__(detail, log)
        self.position, self.length = at, length


class ReplayFeed(RunFeed):
    """Plays a journal; the screen sets `speed` and `playing` and asks for the beginning or the end."""

    subject = "the replay"

    def __init__(self, target: MessagePump, folder: RunFolder, seconds: float) -> None:
        super().__init__(target, folder, seconds)
        self.speed = SPEEDS[_DEFAULT_SPEED]
        self.playing = True
        self.jump_to: str | None = None  # "start" or "end"
        self._schedule: ReplaySchedule | None = None
        self._last_read = 0.0

    def read(self) -> Message | None:
        from mg_tui.runs.journal import JournalReader
        from mg_tui.runs.lock import is_held
        from mg_tui.runs.view import RunView
        from mg_tui.tui.runs.snapshot import build_curves, build_detail, build_row

        now, before = time.monotonic(), self._last_read
        self._last_read = now
        jump, self.jump_to = self.jump_to, None  # taken at once: what is asked for from here on is for the next look
        if self._schedule is None or jump == "start":
            chunks = JournalReader(self._folder.journal_file).chunks() if self._schedule is None else ()
            self._schedule = self._schedule or ReplaySchedule([event for events in chunks for event in events])
            self._schedule.rewind()
            self._view, before = RunView(), now
        elif not self.playing and jump is None:
            return None
        passed = self._schedule.length if jump == "end" else min(now - before, _MAX_TICK_SECONDS) * self.speed
        events = self._schedule.advance(passed)
        self._view.apply(events)
        state = self._view.state(not self._schedule.finished or is_held(self._folder.lock_file))
        moment, spec = self._schedule.timestamp, self._spec()
        row = build_row(self._folder, self._view, state, spec, now=moment)
        detail = build_detail(row, self._view, spec, build_curves(self._view), now=moment)
        if self._schedule.finished:
            self.playing = False
        return ReplayUpdated(detail, self._read_log(), self._schedule.position, self._schedule.length)


class ReplayBar(Lines):
    """How far the replay is and how fast it goes."""

    DEFAULT_CSS = """
    ReplayBar { height: 1; padding: 0 1; background: $panel; }
    """
    played: reactive[tuple[float, float]] = reactive((0.0, 0.0), repaint=False)
    speed: reactive[float] = reactive(1.0, repaint=False)
    playing: reactive[bool] = reactive(True, repaint=False)

    def watch_played(self) -> None:
        self.redraw()

    def watch_speed(self) -> None:
        self.redraw()

    def watch_playing(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        at, length = self.played
        over = length > 0 and at >= length
        sign = "■ replay over" if over else "▶ replay" if self.playing else "‖ paused"
        left = line((sign, tone("eval", "bold")), f"  {self.speed:g} times as fast")
        right = line(formatting.duration(at), (" of ", tone("dim")), formatting.duration(length))
        room = max(width - left.cell_length - right.cell_length - 6, 4)
        filled, rest = meter(at / length if length else 0.0, room)
        return [justify(left, line((filled, tone("eval")), (rest, tone("track")), "  ", right), width)]


class ReplayScreen(RunScreen):
    """One run, played."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("replay")]
    AUTO_FOCUS = "#panes"
    _feed: ReplayFeed

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(folder)
        self.speed = _DEFAULT_SPEED

    def compose_head(self) -> ComposeResult:
        yield ReplayBar()
        yield from super().compose_head()

    def make_feed(self) -> RunFeed:
        return ReplayFeed(self, self.folder, self.dashboard.update_period)

    def on_replay_updated(self, message: ReplayUpdated) -> None:
        message.stop()
        self.query_one(ReplayBar).played = (message.position, message.length)
        self.on_run_updated(message)
        self._show_bar()

    def _show_bar(self) -> None:
        bar = self.query_one(ReplayBar)
        bar.speed, bar.playing = SPEEDS[self.speed], self._feed.playing

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("stop", "checkpoint", "resume", "replay"):
            return False
        return super().check_action(action, parameters)

    def action_pause(self) -> None:
        self._feed.playing = not self._feed.playing
        far = self.query_one(ReplayBar).played
        if self._feed.playing and far[0] >= far[1]:
            self._feed.jump_to = "start"
        self._show_bar()
        self._feed.resume()

    def action_faster(self) -> None:
        self._set_speed(self.speed + 1)

    def action_slower(self) -> None:
        self._set_speed(self.speed - 1)

    def _set_speed(self, to: int) -> None:
        self.speed = min(max(to, 0), len(SPEEDS) - 1)
        self._feed.speed = SPEEDS[self.speed]
        self._show_bar()

    def action_skip(self) -> None:
        self._feed.jump_to = "end"
        self._feed.resume()

    def action_again(self) -> None:
        self._feed.jump_to, self._feed.playing = "start", True
        self._feed.resume()
