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
from mg_tui.tui import words
from mg_tui.tui.actions import bindings
from mg_tui.tui.draw import meter
from mg_tui.tui.feeds import RunFeed, RunRead
from mg_tui.tui.screens.run import RunScreen
from mg_tui.tui.tape import SPEEDS, Tape
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, line, spread

if TYPE_CHECKING:
    from mg_tui.tui.snapshot import RunDetail

_FIRST_SPEED: Final = SPEEDS.index(30.0)
_LATE: Final = 3.0  # seconds without a look after which the time in between does not count


class ReplayRead(RunRead):
    """The run at the moment that is shown, and how far the replay is: seconds played, seconds there are."""

    def __init__(self, detail: "RunDetail", log: tuple[str, ...], at: float, length: float) -> None:
        super().__init__(detail, log)
        self.at, self.length = at, length


class ReplayFeed(RunFeed):
    """Plays a journal; the screen sets `speed` and `playing` and asks for the beginning or the end."""

    what = "the replay"

    def __init__(self, target: MessagePump, folder: RunFolder, seconds: float) -> None:
        super().__init__(target, folder, seconds)
        self.speed = SPEEDS[_FIRST_SPEED]
        self.playing = True
        self.jump: str | None = None  # "start" or "end"
        self._tape: Tape | None = None
        self._looked = 0.0

    def read(self) -> Message | None:
        from mg_tui.runs.journal import JournalReader
        from mg_tui.runs.lock import is_held
        from mg_tui.runs.view import RunView
        from mg_tui.tui.snapshot import curves_of, detail_of, row_of

        now, before = time.monotonic(), self._looked
        self._looked = now
        jump, self.jump = self.jump, None  # taken at once: what is asked for from here on is for the next look
        if self._tape is None or jump == "start":
            chunks = JournalReader(self._folder.journal_file).chunks() if self._tape is None else ()
            self._tape = self._tape or Tape([event for events in chunks for event in events])
            self._tape.rewind()
            self._view, before = RunView(), now
        elif not self.playing and jump is None:
            return None
        passed = self._tape.length if jump == "end" else min(now - before, _LATE) * self.speed
        events = self._tape.advance(passed)
        self._view.apply(events)
        state = self._view.state(not self._tape.over or is_held(self._folder.lock_file))
        moment, spec = self._tape.now, self._spec()
        row = row_of(self._folder, self._view, state, spec, now=moment)
        detail = detail_of(row, self._view, spec, curves_of(self._view), now=moment)
        if self._tape.over:
            self.playing = False
        return ReplayRead(detail, self._read_log(), self._tape.at, self._tape.length)


class ReplayBar(Lines):
    """How far the replay is and how fast it goes."""

    DEFAULT_CSS = """
    ReplayBar { height: 1; padding: 0 1; background: $panel; }
    """
    far: reactive[tuple[float, float]] = reactive((0.0, 0.0), repaint=False)
    speed: reactive[float] = reactive(1.0, repaint=False)
    playing: reactive[bool] = reactive(True, repaint=False)

    def watch_far(self) -> None:
        self.redraw()

    def watch_speed(self) -> None:
        self.redraw()

    def watch_playing(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        at, length = self.far
        over = length > 0 and at >= length
        sign = "■ replay over" if over else "▶ replay" if self.playing else "‖ paused"
        left = line((sign, tone("eval", "bold")), f"  {self.speed:g} times as fast")
        right = line(words.duration(at), (" of ", tone("dim")), words.duration(length))
        room = max(width - left.cell_length - right.cell_length - 6, 4)
        filled, rest = meter(at / length if length else 0.0, room)
        return [spread(left, line((filled, tone("eval")), (rest, tone("track")), "  ", right), width)]


class ReplayScreen(RunScreen):
    """One run, played."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("replay")]
    AUTO_FOCUS = "#panes"
    _feed: ReplayFeed

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(folder)
        self.speed = _FIRST_SPEED

    def compose_head(self) -> ComposeResult:
        yield ReplayBar()
        yield from super().compose_head()

    def make_feed(self) -> RunFeed:
        return ReplayFeed(self, self.folder, self.garden.period)

    def on_replay_read(self, message: ReplayRead) -> None:
        message.stop()
        self.query_one(ReplayBar).far = (message.at, message.length)
        self.on_run_read(message)
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
        far = self.query_one(ReplayBar).far
        if self._feed.playing and far[0] >= far[1]:
            self._feed.jump = "start"
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
        self._feed.jump = "end"
        self._feed.resume()

    def action_again(self) -> None:
        self._feed.jump, self._feed.playing = "start", True
        self._feed.resume()
