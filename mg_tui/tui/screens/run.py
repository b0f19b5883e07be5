"""One run: curves, newest values, generated answers and log, live or replayed from a finished journal."""

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
from mg_tui.tui.choice import Choice
from mg_tui.tui.feeds import DeviceFeed, DevicesUpdated
from mg_tui.tui.runs.chart_view import ChartView
from mg_tui.tui.runs.feeds import RunFeed, RunUpdated
from mg_tui.tui.runs.snapshot import RunDetail
from mg_tui.tui.screens.chart_keys import ChartKeys
from mg_tui.tui.screens.checkpoint_actions import CheckpointActions
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.chart import Chart
from mg_tui.tui.widgets.run.checkpoints import CheckpointTable
from mg_tui.tui.widgets.run.head import OutcomeBand, RunHead
from mg_tui.tui.widgets.run.metrics import (
    MetricsPanel,
    answer_scores,
    curve_choices,
    curve_titles,
    run_curve_count,
    run_plots,
)
from mg_tui.tui.widgets.run.panes import DetailPane, LogPane, RunNotes, RunOptionList, RunTabs
from mg_tui.tui.widgets.run.ranks import RankStrip
from mg_tui.tui.widgets.run.samples import SampleAnswers
from mg_tui.tui.widgets.runs.device_strip import DeviceStrip

if TYPE_CHECKING:
    from mg_tui.hardware.types import DeviceSnapshot


class RunScreen(ChartKeys, CheckpointActions):
    """Follows one run's folder for as long as it is open."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("run", "chart")]
    AUTO_FOCUS = "LogPane"

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self.folder = folder
        self.detail: RunDetail | None = None
        # State, and whether there are samples and checkpoints: on these depends which keys apply.
        self._last_enabled: tuple[RunState, bool, bool] | None = None
        self.view = ChartView()
        self._pending_log: list[str] = []  # lines that are not shown yet

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield from self.compose_head()
        with Container(id="upper"):
            yield Chart()
            yield MetricsPanel()
        yield DeviceStrip()
        yield RankStrip()
        yield RunTabs()
        with ContentSwitcher(initial="log", id="panes"):
            yield LogPane(id="log")
            yield DetailPane(RunNotes(), id="notes")
            yield DetailPane(SampleAnswers(), id="samples")
            yield CheckpointTable(id="saved")
            yield DetailPane(RunOptionList(), id="spec")
        yield KeyBar()

    def compose_head(self) -> ComposeResult:
        """The widgets above the chart."""
        yield RunHead()
        yield OutcomeBand()

    def make_feed(self) -> RunFeed:
        """The feed that reads the run."""
        return RunFeed(self, self.folder, self.dashboard.update_period, prices=self.dashboard.settings.cost)

    def on_mount(self) -> None:
        self.query_one(TopBar).breadcrumb = one_line(self.folder.id)
        self._feed = self.make_feed()
        self._device_feed = DeviceFeed(self, self.dashboard.device_period, self._run_pids, self.dashboard.elsewhere)
        self.call_after_refresh(self._feed.start)
        self.call_after_refresh(self._device_feed.start)

    def on_unmount(self) -> None:
        self._feed.stop()
        self._device_feed.stop()

    def _run_pids(self) -> dict[int, str]:
        rows = [*(self.dashboard.run_rows or ()), *([self.detail.row] if self.detail is not None else [])]
        ranks = {} if self.detail is None else {one.pid: self.detail.row.id for one in self.detail.ranks if one.pid}
        return {**ranks, **{row.pid: row.id for row in rows if row.pid is not None}}

    # --- messages of the feeds

    def on_run_updated(self, message: RunUpdated) -> None:
        first, self.detail = self.detail is None, message.detail
        self._pending_log += message.log
        self.dashboard.coalescer.schedule((self, "run"), self._show_newest, at_once=first)

    def on_screen_resume(self) -> None:
        if self.detail is not None:
            self._show(self.detail)

    def _show_newest(self) -> None:
        # Textual redraws a question in full when the screen below it changes.
        if self.is_active and self.detail is not None and self.query(RunHead):
            self._show(self.detail)

    def _show(self, detail: RunDetail) -> None:
        self._write_log()
        self.query_one(TopBar).breadcrumb = detail.row.title
        others = {row.id: row.title for row in self.dashboard.run_rows or ()}
        self.query_one(DeviceStrip).titles = {**others, detail.row.id: detail.row.title}
        for widget in (
            self.query_one(RunHead),
            self.query_one(OutcomeBand),
            self.query_one(MetricsPanel),
            self.query_one(RunTabs),
        ):
            widget.detail = detail
        self.query_one(RankStrip).ranks = detail.ranks
        for pane in self.query(DetailPane):
            pane.show(detail)
        self.query_one(CheckpointTable).show_detail(detail)
        self.draw_chart()
        enabled = (detail.row.state, bool(detail.samples), bool(detail.checkpoints))
        if enabled != self._last_enabled:
            self._last_enabled = enabled
            self.refresh_bindings()

    def on_devices_updated(self, message: DevicesUpdated) -> None:
        self.dashboard.device_history.add(message.snapshot)
        self.dashboard.coalescer.schedule((self, "devices"), partial(self._show_devices, message.snapshot))

    def on_devices_unknown(self) -> None:
        if self.query(DeviceStrip):
            self.query_one(DeviceStrip).snapshot = None

    def _show_devices(self, snapshot: "DeviceSnapshot") -> None:
        if self.is_active and self.query(DeviceStrip):  # none while the dashboard ends
            self.query_one(DeviceStrip).snapshot = snapshot

    def _write_log(self) -> None:
        if self._pending_log:
            self.query_one(LogPane).add(self._pending_log, follow=self.query_one(RunTabs).following)
            self._pending_log = []

    # --- the chart

    @property
    def curve_count(self) -> int:
        return run_curve_count(self.detail)

    @property
    def curve_choices(self) -> Sequence[Choice]:
        if self.detail is None:
            return ()
        return curve_choices(curve_titles(answer_scores(self.detail)), self.detail.curves.fields, self.view)

    @property
    def steps(self) -> Sequence[int]:
        return self.detail.curves.steps if self.detail is not None else ()

    def draw_chart(self) -> None:
        if self.detail is not None:
            self.query_one(Chart).show(run_plots(self.detail, self.view), _placeholder(self.detail))

    # --- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        state = self.detail.row.state if self.detail is not None else None
        if action in ("stop", "checkpoint"):
            return state is RunState.RUNNING or (action == "stop" and state is RunState.QUEUED)
        if action == "resume":
            return state is not None and state.can_resume
        if action == "chat":
            return bool(self.detail is not None and self.detail.row.result_path)
        if action == "replay":
            return state is not None and state.ended
        if action == "evaluate":
            return state is RunState.FINISHED or bool(self.detail is not None and self.detail.checkpoints)
        if action in ("sample_back", "sample_next", "image"):
            return bool(self.detail is not None and self.detail.samples)
        return True

    async def action_back(self) -> None:
        if self.query("#search"):
            await self._close_search()
        elif self.has_class("-zoomed"):
            self.action_zoom()
        else:
            self.dashboard.pop_screen()

    def _with_detail(self, command: Callable[[RunDetail], None]) -> None:
        if self.detail is not None:
            command(self.detail)

    def action_stop(self) -> None:
        self._with_detail(lambda detail: self.dashboard.run_commands.stop(detail.row, stopping=detail.stop_requested))

    def action_checkpoint(self) -> None:
        self._with_detail(lambda detail: self.dashboard.run_commands.save_checkpoint(detail.row))

    def action_keep_machine(self) -> None:
        self._with_detail(lambda detail: self.dashboard.run_commands.keep_machine(detail.row))

    def action_resume(self) -> None:
        self._with_detail(lambda detail: self.dashboard.run_commands.resume(detail.row))

    def action_rerun(self) -> None:
        self.dashboard.open_rerun_form(self.folder)

    def action_replay(self) -> None:
        self.dashboard.open_replay(self.folder)

    def action_rename(self) -> None:
        self._with_detail(lambda detail: self.dashboard.run_annotator.rename(detail.row))

    def action_note(self) -> None:
        self._with_detail(lambda detail: self.dashboard.run_annotator.note(detail.row))

    def action_tags(self) -> None:
        self._with_detail(lambda detail: self.dashboard.run_annotator.tags([detail.row]))

    def action_place(self) -> None:
        self._with_detail(lambda detail: self.dashboard.show_result_path(detail.row))

    def action_devices(self) -> None:
        self.dashboard.open_devices()

    def action_evaluations(self) -> None:
        from mg_tui.tui.screens.evaluation_keys import open_run_evaluations

        self._with_detail(partial(open_run_evaluations, self.dashboard))

    def action_evaluate(self) -> None:
        from mg_tui.tui.screens.evaluation_keys import evaluate_run

        self._with_detail(partial(evaluate_run, self.dashboard))

    def _show_pane(self, name: str) -> None:
        self.query_one("#panes", ContentSwitcher).current = name
        self.query_one(RunTabs).pane = name
        self.set_focus(self.query_one(f"#{name}"))

    def action_log(self) -> None:
        self._show_pane("log")

    def action_notes(self) -> None:
        self._show_pane("notes")

    def action_samples(self) -> None:
        self._show_pane("samples")

    def action_saved(self) -> None:
        self._show_pane("saved")

    def action_spec(self) -> None:
        self._show_pane("spec")

    def action_zoom(self) -> None:
        self.toggle_class("-zoomed")

    def action_follow(self) -> None:
        tabs = self.query_one(RunTabs)
        tabs.following = not tabs.following
        log = self.query_one(LogPane)
        log.auto_scroll = tabs.following
        if tabs.following:
            log.scroll_end(animate=False)

    # --- answers

    def action_sample_back(self) -> None:
        self._change_sample_step(-1)

    def action_sample_next(self) -> None:
        self._change_sample_step(1)

    def _change_sample_step(self, by: int) -> None:
        if self.query_one(RunTabs).pane != "samples":
            self._show_pane("samples")
        else:
            self.query_one(SampleAnswers).change_step(by)

    def action_image(self) -> None:
        from mg_tui.tui.screens.image import AnsweredImage, ImageScreen

        if self.detail is not None:
            answers = [
                sample
                for sample, _ in self.query_one(SampleAnswers).samples_shown(self.detail)
                if sample.image is not None
            ]
            images = [AnsweredImage(self.folder.path / str(item.image), item.prompt, item.answer) for item in answers]
            self.app.push_screen(ImageScreen(images))

    # --- the log's filter

    async def action_search(self) -> None:
        if self.query_one(RunTabs).pane != "log":
            self._show_pane("log")
        if not self.query("#search"):
            field = Input(placeholder="words to filter by", id="search", compact=True)
            await self.mount(field, after=self.query_one(RunTabs))
        self.set_focus(self.query_one("#search", Input))

    async def _close_search(self) -> None:
        await self.query("#search").remove()
        self.query_one(LogPane).filter_lines("")
        self.set_focus(self.query_one(LogPane))

    def on_input_changed(self, event: Input.Changed) -> None:
        self.query_one(LogPane).filter_lines(event.value)

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self.set_focus(self.query_one(LogPane))
        else:
            await self._close_search()


def _placeholder(detail: RunDetail) -> str:
    """The text in place of a curve without steps."""
    if detail.row.state is RunState.CREATED:
        return "The worker has not started yet."
    if detail.row.state is RunState.RUNNING:
        return f"{detail.row.phase or 'starting'} … the curve begins with the first step"
    return "This run ended before its first step."
