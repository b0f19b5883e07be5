"""Every GPU in full, and the host."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from mg_tui.tui.actions import bindings
from mg_tui.tui.feeds import DeviceFeed, DevicesRead
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.device_blocks import DeviceBlocks
from mg_tui.tui.widgets.scrolled import Scrolled


class DevicesScreen(GardenScreen[None]):
    """Looks for as long as it is open."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("devices")]
    AUTO_FOCUS = "#devices"

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield Scrolled(DeviceBlocks(), id="devices")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(TopBar).crumb = "devices"
        self._feed = DeviceFeed(self, self.garden.device_period, self._run_pids)
        self.call_after_refresh(self._feed.start)

    def on_unmount(self) -> None:
        self._feed.end()

    def _run_pids(self) -> dict[int, str]:
        return {row.pid: row.id for row in self.garden.rows or () if row.pid is not None}

    def on_devices_read(self, message: DevicesRead) -> None:
        titles = {row.id: row.title for row in self.garden.rows or ()}
        self.query_one(DeviceBlocks).add(message.snapshot, titles)

    def action_back(self) -> None:
        self.garden.pop_screen()
