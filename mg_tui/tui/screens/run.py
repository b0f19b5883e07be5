"""One run: its curves, its newest values, its answers and its log, live or replayed from a finished journal."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.widgets import ContentSwitcher

from mg_tui.core.text import one_line
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.state import RunState
from mg_tui.tui.actions import bindings
from mg_tui.tui.feeds import DeviceFeed, DevicesRead, RunFeed, RunRead
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.snapshot import RunDetail
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.chart import Chart
from mg_tui.tui.widgets.run.facts import CURVE_COUNT, Facts, plot_of
from mg_tui.tui.widgets.run.head import Band, Head
from mg_tui.tui.widgets.run.panes import Answers, LogPane, Notes, Options, PaneTabs, Saved, TextPane
from mg_tui.tui.widgets.runs.devices import DeviceStrip


class RunScreen(GardenScreen[None]):
    """Follows one run's folder for as long as it is open."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("run")]
    AUTO_FOCUS = "LogPane"

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self.folder = folder
        self.detail: RunDetail | None = None
        self.curve = 0
        self.logarithmic = False
        self._log: list[str] = []  # lines that have come and are not shown yet

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield Head()
        yield Band()
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

    def on_mount(self) -> None:
        self.query_one(TopBar).crumb = one_line(self.folder.id)
        self._feed = RunFeed(self, self.folder, self.garden.period)
        self._devices = DeviceFeed(self, self.garden.device_period, self._run_pids)
        self.call_after_refresh(self._feed.start)
        self.call_after_refresh(self._devices.start)

    def on_unmount(self) -> None:
        self._feed.end()
        self._devices.end()

    def _run_pids(self) -> dict[int, str]:
        row = self.detail.row if self.detail is not None else None
        return {row.pid: row.id} if row is not None and row.pid is not None else {}

    # --- what came

    def on_run_read(self, message: RunRead) -> None:
        before, self.detail = self.detail, message.detail
        self._log += message.log
        if self.is_current:  # a change below a question would make Textual send the whole screen
            self._show(before)

    def on_screen_resume(self) -> None:
        if self.detail is not None:
            self._show(None)

    def _show(self, before: RunDetail | None) -> None:
        detail = self.detail
        assert detail is not None
        self._write_log()
        self.query_one(TopBar).crumb = detail.row.title
        self.query_one(DeviceStrip).titles = {detail.row.id: detail.row.title}
        for widget in (self.query_one(Head), self.query_one(Band), self.query_one(Facts), self.query_one(PaneTabs)):
            widget.detail = detail
        for pane in self.query(TextPane):
            pane.show(detail)
        self._draw()
        if before is None or before.row.state is not detail.row.state:
            self.refresh_bindings()

    def on_devices_read(self, message: DevicesRead) -> None:
        if self.is_current:
            self.query_one(DeviceStrip).snapshot = message.snapshot

    def _write_log(self) -> None:
        if self._log:
            self.query_one(LogPane).write_lines(self._log, scroll_end=self.query_one(PaneTabs).following)
            self._log = []

    def _draw(self) -> None:
        if self.detail is not None:
            plot = plot_of(self.detail, self.curve, self.logarithmic)
            self.query_one(Chart).show(plot, _instead(self.detail))

    # --- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("stop", "checkpoint"):
            detail = self.detail
            return detail is not None and detail.row.state is RunState.RUNNING and not detail.stopping
        return True

    def action_back(self) -> None:
        if self.has_class("-zoomed"):
            self.action_zoom()
        else:
            self.garden.pop_screen()

    def action_stop(self) -> None:
        if self.detail is not None:
            self.garden.ask_stop(self.detail.row)

    def action_checkpoint(self) -> None:
        if self.detail is not None:
            self.garden.request(self.detail.row, "checkpoint", "asked for a checkpoint after this step")

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

    def action_curve(self) -> None:
        self.curve = (self.curve + 1) % CURVE_COUNT
        self._draw()

    def action_curve_back(self) -> None:
        self.curve = (self.curve - 1) % CURVE_COUNT
        self._draw()

    def action_scale(self) -> None:
        self.logarithmic = not self.logarithmic
        self._draw()


def _instead(detail: RunDetail) -> str:
    """What stands where a curve will be."""
    if detail.row.state is RunState.CREATED:
        return "The worker has not started yet."
    if detail.row.state is RunState.RUNNING:
        return f"{detail.row.phase or 'starting'} … the curve begins with the first step"
    return "This run ended before its first step."
