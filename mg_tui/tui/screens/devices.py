"""Every GPU in full, the host, what each did lately, and what the doctor found."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from mg_tui.tui.actions import bindings
from mg_tui.tui.device_history import METRICS
from mg_tui.tui.feeds import DeviceFeed, DevicesUpdated, MachineExamined, MachineExaminer
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.chart import Chart
from mg_tui.tui.widgets.device_blocks import DeviceBlocks
from mg_tui.tui.widgets.device_chart import device_plots
from mg_tui.tui.widgets.machine_findings import MachineFindings
from mg_tui.tui.widgets.scroll_box import ScrollBox


class DevicesScreen(GardenScreen[None]):
    """Samples the devices while it is open."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("devices")]
    AUTO_FOCUS = "#devices"

    def __init__(self) -> None:
        super().__init__()
        self._metric = 0  # which comes first

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield ScrollBox(DeviceBlocks(), MachineFindings(), id="devices")
        yield Chart()
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(TopBar).breadcrumb = "devices"
        self._feed = DeviceFeed(self, self.dashboard.device_period, self._run_pids, self.dashboard.elsewhere)
        self.call_after_refresh(self._feed.start)
        settings = self.dashboard.settings
        if self.dashboard.elsewhere is None:
            self.call_after_refresh(MachineExaminer(self, settings.home, settings.cache).start)
        else:
            self.query_one(MachineFindings).display = False  # the doctor knows this machine

    def on_unmount(self) -> None:
        self._feed.stop()

    def _run_pids(self) -> dict[int, str]:
        return {row.pid: row.id for row in self.dashboard.run_rows or () if row.pid is not None}

    def on_devices_updated(self, message: DevicesUpdated) -> None:
        titles = {row.id: row.title for row in self.dashboard.run_rows or ()}
        self.dashboard.device_history.add(message.snapshot)
        self.query_one(DeviceBlocks).show_snapshot(message.snapshot, titles, self.dashboard.device_history)
        self._draw_chart()

    def _draw_chart(self) -> None:
        plots = device_plots(self.dashboard.device_history, self._metric)
        self.query_one(Chart).show(plots, "No device reports this.")

    def action_metric(self) -> None:
        self._metric = (self._metric + 1) % len(METRICS)
        self._draw_chart()

    def action_metric_back(self) -> None:
        self._metric = (self._metric - 1) % len(METRICS)
        self._draw_chart()

    def on_machine_examined(self, message: MachineExamined) -> None:
        self.query_one(MachineFindings).show_findings(message.findings)

    def action_back(self) -> None:
        self.dashboard.pop_screen()
