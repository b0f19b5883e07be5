"""Several runs on one chart, with a table of what came of them and what differs in what was asked."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from mg_tui.runs.folder import RunFolder
from mg_tui.tui.actions import bindings
from mg_tui.tui.charting import View
from mg_tui.tui.feeds import RunFeed, RunRead
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.screens.charts import ChartKeys
from mg_tui.tui.snapshot import RunDetail
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.chart import Chart
from mg_tui.tui.widgets.compared import COMPARED_CURVES, MOST, ComparedTable, plot_of
from mg_tui.tui.widgets.scrolled import Scrolled


class CompareScreen(ChartKeys, GardenScreen[None]):
    """Follows the runs for as long as it is open, each by a feed of its own."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("compare", "chart")]
    AUTO_FOCUS = "#table"
    curve_count = COMPARED_CURVES

    def __init__(self, folders: Sequence[RunFolder]) -> None:
        super().__init__()
        self.folders = list(folders)[:MOST]
        self.left_out = len(folders) - len(self.folders)
        self.view = View()
        self.every = False
        self._details: dict[str, RunDetail] = {}

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield Chart()
        yield Scrolled(ComparedTable(), id="table")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(TopBar).crumb = f"comparing {len(self.folders)} runs"
        self._feeds = [RunFeed(self, folder, self.garden.period * 2, log=False) for folder in self.folders]
        for feed in self._feeds:
            self.call_after_refresh(feed.start)
        if self.left_out:
            self.notify(f"{MOST} runs fit on a chart; {self.left_out} of the marked ones are left out.", markup=False)

    def on_unmount(self) -> None:
        for feed in self._feeds:
            feed.end()

    @property
    def details(self) -> list[RunDetail]:
        """What is known of the runs, in the order in which they were marked in the list; empty until all are read."""
        found = [self._details.get(folder.id) for folder in self.folders]
        return [detail for detail in found if detail is not None] if all(found) else []

    def on_run_read(self, message: RunRead) -> None:
        before = bool(self.details)
        self._details[message.detail.row.id] = message.detail
        self.garden.beat.call((self, "runs"), self._show_newest, at_once=not before and bool(self.details))

    def _show_newest(self) -> None:
        if self.is_current:
            self._show()

    def on_screen_resume(self) -> None:
        if self.is_mounted:
            self._show()

    def _show(self) -> None:
        self.query_one(ComparedTable).show(self.details, every=self.every)
        self.draw_chart()

    @property
    def steps(self) -> Sequence[int]:
        return sorted({step for detail in self.details for step in detail.curves.steps})

    def draw_chart(self) -> None:
        if self.details:
            self.query_one(Chart).show(plot_of(self.details, self.view), "None of these runs has come to a step.")

    def action_same(self) -> None:
        self.every = not self.every
        self._show()

    def action_back(self) -> None:
        self.garden.pop_screen()
