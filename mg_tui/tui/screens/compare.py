"""Several runs on one chart, with a table of their results and the options that differ."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from mg_tui.runs.folder import RunFolder
from mg_tui.tui.actions import bindings
from mg_tui.tui.choice import Choice
from mg_tui.tui.runs.chart_view import ChartView
from mg_tui.tui.runs.feeds import RunFeed, RunUpdated
from mg_tui.tui.runs.snapshot import RunDetail
from mg_tui.tui.screens.chart_keys import ChartKeys
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.chart import Chart
from mg_tui.tui.widgets.run.metrics import curve_choices
from mg_tui.tui.widgets.run_comparison import (
    MAX_RUNS,
    ComparisonTable,
    comparison_curve_count,
    comparison_fields,
    comparison_plots,
    comparison_titles,
)
from mg_tui.tui.widgets.scroll_box import ScrollBox


class CompareScreen(ChartKeys):
    """Follows the runs for as long as it is open, each by a feed of its own."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("compare", "chart")]
    AUTO_FOCUS = "#table"

    def __init__(self, folders: Sequence[RunFolder]) -> None:
        super().__init__()
        self.folders = list(folders)[:MAX_RUNS]
        self.omitted = len(folders) - len(self.folders)
        self.view = ChartView()
        self.show_all_options = False
        self._details: dict[str, RunDetail] = {}

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield Chart()
        yield ScrollBox(ComparisonTable(), id="table")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(TopBar).breadcrumb = f"comparing {len(self.folders)} runs"
        self._run_feeds = [
            RunFeed(self, folder, self.dashboard.update_period * 2, log=False) for folder in self.folders
        ]
        for feed in self._run_feeds:
            self.call_after_refresh(feed.start)
        if self.omitted:
            self.notify(f"{MAX_RUNS} runs fit on a chart; {self.omitted} marked runs are not shown.", markup=False)

    def on_unmount(self) -> None:
        for feed in self._run_feeds:
            feed.stop()

    @property
    def details(self) -> list[RunDetail]:
        """The runs, in the order of `folders`; empty until all are read."""
        details = [self._details.get(folder.id) for folder in self.folders]
        return [detail for detail in details if detail is not None] if all(details) else []

    def on_run_updated(self, message: RunUpdated) -> None:
        complete = bool(self.details)
        self._details[message.detail.row.id] = message.detail
        first = not complete and bool(self.details)
        self.dashboard.coalescer.schedule((self, "runs"), self._show_newest, at_once=first)

    def _show_newest(self) -> None:
        if self.is_active:
            self._show()

    def on_screen_resume(self) -> None:
        if self.is_mounted:
            self._show()

    def _show(self) -> None:
        self.query_one(ComparisonTable).show(self.details, show_all=self.show_all_options)
        self.draw_chart()

    @property
    def curve_count(self) -> int:
        return comparison_curve_count(self.details)

    @property
    def curve_choices(self) -> Sequence[Choice]:
        details = self.details
        return curve_choices(comparison_titles(details), comparison_fields(details), self.view)

    @property
    def steps(self) -> Sequence[int]:
        return sorted({step for detail in self.details for step in detail.curves.steps})

    def draw_chart(self) -> None:
        if self.details:
            self.query_one(Chart).show(
                comparison_plots(self.details, self.view), "None of these runs has completed a step."
            )

    def action_same(self) -> None:
        self.show_all_options = not self.show_all_options
        self._show()

    def action_back(self) -> None:
        self.dashboard.pop_screen()
