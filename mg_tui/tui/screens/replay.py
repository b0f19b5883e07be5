"""The replay of a run's journal on the screen of a run."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.reactive import reactive

from mg_tui.runs.folder import RunFolder
from mg_tui.tui import formatting
from mg_tui.tui.actions import bindings
from mg_tui.tui.runs.feeds import RunFeed
from mg_tui.tui.runs.replay_feed import DEFAULT_SPEED, ReplayFeed, ReplayUpdated
from mg_tui.tui.runs.replay_schedule import SPEEDS
from mg_tui.tui.screens.run import RunScreen
from mg_tui.tui.text_charts import meter
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, justify, line
from mg_tui.tui.widgets.run.panes import LogPane


class ReplayBar(Lines):
    """Progress and speed of the replay."""

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
        position, length = self.played
        finished = length > 0 and position >= length
        sign = "■ replay ended" if finished else "▶ replay" if self.playing else "‖ paused"
        left = line((sign, tone("eval", "bold")), f"  {self.speed:g}×")
        right = line(formatting.duration(position), (" of ", tone("dim")), formatting.duration(length))
        room = max(width - left.cell_length - right.cell_length - 6, 4)
        filled, rest = meter(position / length if length else 0.0, room)
        return [justify(left, line((filled, tone("eval")), (rest, tone("track")), "  ", right), width)]


class ReplayScreen(RunScreen):
    """One run, replayed."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("replay")]
    AUTO_FOCUS = "#panes"
    _feed: ReplayFeed

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(folder)
        self.speed = DEFAULT_SPEED  # index of `SPEEDS`

    def compose_head(self) -> ComposeResult:
        yield ReplayBar()
        yield from super().compose_head()

    def make_feed(self) -> RunFeed:
        return ReplayFeed(self, self.folder, self.dashboard.update_period)

    def on_replay_updated(self, message: ReplayUpdated) -> None:
        message.stop()
        if message.rewound:
            self._pending_log = []
            self.query_one(LogPane).clear_lines()
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
        position, length = self.query_one(ReplayBar).played
        if self._feed.playing and position >= length:
            self._feed.jump_to = "start"
        self._show_bar()
        self._feed.resume()

    def action_faster(self) -> None:
        self._set_speed(self.speed + 1)

    def action_slower(self) -> None:
        self._set_speed(self.speed - 1)

    def _set_speed(self, index: int) -> None:
        self.speed = min(max(index, 0), len(SPEEDS) - 1)
        self._feed.speed = SPEEDS[self.speed]
        self._show_bar()

    def action_skip(self) -> None:
        self._feed.jump_to = "end"
        self._feed.resume()

    def action_again(self) -> None:
        self._feed.jump_to, self._feed.playing = "start", True
        self._feed.resume()
