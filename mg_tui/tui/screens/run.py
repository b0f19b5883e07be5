"""One run: its curves, its newest values, its answers and its log, live or replayed from a finished journal."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.widgets import ContentSwitcher, Input

from mg_tui.core.text import one_line
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.state import RunState
from mg_tui.tui.actions import bindings
from mg_tui.tui.acts import AGAIN
from mg_tui.tui.charting import View
from mg_tui.tui.feeds import DeviceFeed, DevicesRead, RunFeed, RunRead
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.screens.charts import ChartKeys
from mg_tui.tui.snapshot import RunDetail
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.chart import Chart
from mg_tui.tui.widgets.run.answers import Answers
from mg_tui.tui.widgets.run.facts import CURVE_COUNT, Facts, plot_of
from mg_tui.tui.widgets.run.head import Band, Head
from mg_tui.tui.widgets.run.panes import LogPane, Notes, Options, PaneTabs, Saved, TextPane
from mg_tui.tui.widgets.runs.devices import DeviceStrip

if TYPE_CHECKING:
    from mg_tui.hardware.devices import DeviceSnapshot


class RunScreen(ChartKeys, GardenScreen[None]):
    """Follows one run's folder for as long as it is open."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("run", "chart")]
    AUTO_FOCUS = "LogPane"
    curve_count = CURVE_COUNT

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self.folder = folder
        self.detail: RunDetail | None = None
        self._offered: tuple[RunState, bool] | None = None  # what the keys that apply depend on
        self.view = View()
        self._log: list[str] = []  # lines that have come and are not shown yet

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield from self.compose_head()
        with Container(id="upper"):
            yield Chart()
            yield Facts()
        yield DeviceStrip()
        yield PaneTabs()
        with ContentSwitcher(initial="log", id="panes"):
            yield LogPane(id="log")
            yield TextPane(Notes(), id="notes")
            yield TextPane(Answers(), id="samples")
            yield TextPane(Saved(), id="saved")
            yield TextPane(Options(), id="spec")
        yield KeyBar()

    def compose_head(self) -> ComposeResult:
        """What stands above the chart."""
        yield Head()
        yield Band()

    def make_feed(self) -> RunFeed:
        """What reads the run."""
        return RunFeed(self, self.folder, self.garden.period, prices=self.garden.settings.cost)

    def on_mount(self) -> None:
        self.query_one(TopBar).crumb = one_line(self.folder.id)
        self._feed = self.make_feed()
        self._devices = DeviceFeed(self, self.garden.device_period, self._run_pids)
        self.call_after_refresh(self._feed.start)
        self.call_after_refresh(self._devices.start)

    def on_unmount(self) -> None:
        self._feed.end()
        self._devices.end()

    def _run_pids(self) -> dict[int, str]:
        rows = [*(self.garden.rows or ()), *([self.detail.row] if self.detail is not None else [])]
        return {row.pid: row.id for row in rows if row.pid is not None}

    # --- what came

    def on_run_read(self, message: RunRead) -> None:
        first, self.detail = self.detail is None, message.detail
        self._log += message.log
        self.garden.beat.call((self, "run"), self._show_newest, at_once=first)

    def on_screen_resume(self) -> None:
        if self.detail is not None:
            self._show(self.detail)

    def _show_newest(self) -> None:
        if self.is_current and self.detail is not None:  # a change below a question makes Textual send all of it
            self._show(self.detail)

    def _show(self, detail: RunDetail) -> None:
        self._write_log()
        self.query_one(TopBar).crumb = detail.row.title
        others = {row.id: row.title for row in self.garden.rows or ()}
        self.query_one(DeviceStrip).titles = {**others, detail.row.id: detail.row.title}
        for widget in (self.query_one(Head), self.query_one(Band), self.query_one(Facts), self.query_one(PaneTabs)):
            widget.detail = detail
        for pane in self.query(TextPane):
            pane.show(detail)
        self.draw_chart()
        if (detail.row.state, bool(detail.samples)) != self._offered:
            self._offered = (detail.row.state, bool(detail.samples))
            self.refresh_bindings()

    def on_devices_read(self, message: DevicesRead) -> None:
        self.garden.beat.call((self, "devices"), partial(self._show_devices, message.snapshot))

    def _show_devices(self, snapshot: "DeviceSnapshot") -> None:
        if self.is_current:
            self.query_one(DeviceStrip).snapshot = snapshot

    def _write_log(self) -> None:
        if self._log:
            self.query_one(LogPane).add(self._log, follow=self.query_one(PaneTabs).following)
            self._log = []

    # --- the chart

    @property
    def steps(self) -> Sequence[int]:
        return self.detail.curves.steps if self.detail is not None else ()

    def draw_chart(self) -> None:
        if self.detail is not None:
            self.query_one(Chart).show(plot_of(self.detail, self.view), _instead(self.detail))

    # --- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        state = self.detail.row.state if self.detail is not None else None
        if action in ("stop", "checkpoint"):
            return state is RunState.RUNNING or (action == "stop" and state is RunState.QUEUED)
        if action == "resume":
            return state in AGAIN
        if action == "replay":
            return state is not None and state.ended
        if action in ("sample_back", "sample_next", "picture"):
            return bool(self.detail is not None and self.detail.samples)
        return True

    async def action_back(self) -> None:
        if self.query("#search"):
            await self._end_search()
        elif self.has_class("-zoomed"):
            self.action_zoom()
        else:
            self.garden.pop_screen()

    def _with_detail(self, act: Callable[[RunDetail], None]) -> None:
        if self.detail is not None:
            act(self.detail)

    def action_stop(self) -> None:
        self._with_detail(lambda detail: self.garden.acts.stop(detail.row, stopping=detail.stopping))

    def action_checkpoint(self) -> None:
        self._with_detail(lambda detail: self.garden.acts.save(detail.row))

    def action_resume(self) -> None:
        self._with_detail(lambda detail: self.garden.acts.resume(detail.row))

    def action_rerun(self) -> None:
        self._with_detail(lambda detail: self.garden.acts.rerun(detail.row))

    def action_replay(self) -> None:
        self.garden.open_replay(self.folder)

    def action_place(self) -> None:
        self._with_detail(lambda detail: self.garden.show_place(detail.row))

    def action_devices(self) -> None:
        self.garden.open_devices()

    def _pane(self, name: str) -> None:
        self.query_one("#panes", ContentSwitcher).current = name
        self.query_one(PaneTabs).pane = name
        self.query_one(f"#{name}").focus()

    def action_log(self) -> None:
        self._pane("log")

    def action_notes(self) -> None:
        self._pane("notes")

    def action_samples(self) -> None:
        self._pane("samples")

    def action_saved(self) -> None:
        self._pane("saved")

    def action_spec(self) -> None:
        self._pane("spec")

    def action_zoom(self) -> None:
        self.toggle_class("-zoomed")

    def action_follow(self) -> None:
        tabs = self.query_one(PaneTabs)
        tabs.following = not tabs.following
        log = self.query_one(LogPane)
        log.auto_scroll = tabs.following
        if tabs.following:
            log.scroll_end(animate=False)

    # --- answers

    def action_sample_back(self) -> None:
        self._turn(-1)

    def action_sample_next(self) -> None:
        self._turn(1)

    def _turn(self, by: int) -> None:
        if self.query_one(PaneTabs).pane != "samples":
            self._pane("samples")
        else:
            self.query_one(Answers).turn(by)

    def action_picture(self) -> None:
        from mg_tui.tui.screens.picture import PictureScreen, Shown

        if self.detail is not None:
            answers = [sample for sample, _ in self.query_one(Answers).shown(self.detail) if sample.image is not None]
            pictures = [Shown(self.folder.path / str(item.image), item.prompt, item.answer) for item in answers]
            self.app.push_screen(PictureScreen(pictures))

    # --- the log's filter

    async def action_search(self) -> None:
        if self.query_one(PaneTabs).pane != "log":
            self._pane("log")
        if not self.query("#search"):
            field = Input(placeholder="words of lines to show", id="search", compact=True)
            await self.mount(field, after=self.query_one(PaneTabs))
        self.query_one("#search", Input).focus()

    async def _end_search(self) -> None:
        await self.query("#search").remove()
        self.query_one(LogPane).only("")
        self.query_one(LogPane).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.query_one(LogPane).only(event.value)

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self.query_one(LogPane).focus()
        else:
            await self._end_search()


def _instead(detail: RunDetail) -> str:
    """What stands where a curve will be."""
    if detail.row.state is RunState.CREATED:
        return "The worker has not started yet."
    if detail.row.state is RunState.RUNNING:
        return f"{detail.row.phase or 'starting'} … the curve begins with the first step"
    return "This run ended before its first step."
