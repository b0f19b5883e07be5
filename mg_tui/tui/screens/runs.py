"""The list of runs, with the devices above it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Static

from mg_tui.core.program import program, runnable
from mg_tui.core.text import printable
from mg_tui.runs.state import RunState
from mg_tui.tui import formatting
from mg_tui.tui.actions import bindings
from mg_tui.tui.feeds import DeviceFeed, DevicesUpdated, FeedFailed
from mg_tui.tui.runs.feeds import RunsFeed
from mg_tui.tui.runs.sorting import SORT_ORDERS, sort_rows
from mg_tui.tui.screens import run_list_options
from mg_tui.tui.screens.filter_screen import FilterScreen
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.runs.device_strip import DeviceStrip
from mg_tui.tui.widgets.runs.run_table import MARKED_GLYPH, RunPreview, RunTable
from mg_tui.tui.widgets.table import Table

if TYPE_CHECKING:
    from mg_tui.hardware.types import DeviceSnapshot
    from mg_tui.tui.runs.snapshot import RunRow

BACKGROUND_PERIOD = 3.0
AGE_SECONDS = 5.0  # an age has minutes as its smallest unit


class RunsScreen(FilterScreen):
    """Every run of the home folder; read from the first frame on until the dashboard ends."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("runs")]
    AUTO_FOCUS = "RunTable"
    stylesheets_preloaded = True  # it draws the first frame
    filter_placeholder = "filter by name, id, state, model or note; #tag; -without"

    def __init__(self) -> None:
        super().__init__()
        self.table = RunTable()
        self.order_index = 0
        self.reversed_order = False

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield DeviceStrip()
        yield self.table
        yield Static(id="empty")
        yield RunPreview()
        yield KeyBar()

    def on_mount(self) -> None:
        self._device_feed = DeviceFeed(self, self.dashboard.device_period, self._run_pids, self.dashboard.elsewhere)
        self.table.choose_columns(run_list_options.configured_columns(self.dashboard.settings))
        self._update_summary()
        self.set_interval(AGE_SECONDS, self._update_ages)
        # Reading starts after the first frame, which its imports would delay.
        self.call_after_refresh(self.dashboard.runs_feed.start)
        self.call_after_refresh(self._device_feed.start)

    def on_unmount(self) -> None:
        self._device_feed.stop()

    def _update_ages(self) -> None:
        """The feed posts only when a run changed; time passes anyway."""
        if self.is_active and self.table.display:
            self.table.redraw_changed()

    def on_screen_suspend(self) -> None:
        if self.is_mounted:
            self._device_feed.pause()
            self.dashboard.runs_feed.set_period(BACKGROUND_PERIOD)

    def on_screen_resume(self) -> None:
        if self.is_mounted:
            self._device_feed.resume()
            self.dashboard.runs_feed.set_period(self.dashboard.update_period)
            self.show_runs()

    def _run_pids(self) -> dict[int, str]:
        return {row.pid: row.id for row in self.rows or () if row.pid is not None}

    @property
    def rows(self) -> "tuple[RunRow, ...] | None":
        """Every run; None before they were first read."""
        return self.dashboard.run_rows

    # --- messages of the feeds

    def show_runs(self) -> None:
        if self.rows is not None and self.query(DeviceStrip):  # not composed yet, or ending
            self.query_one(DeviceStrip).titles = {row.id: row.title for row in self.rows}
            self._show()

    def on_devices_updated(self, message: DevicesUpdated) -> None:
        self.dashboard.device_history.add(message.snapshot)
        self.dashboard.coalescer.schedule((self, "devices"), partial(self._show_devices, message.snapshot))

    def on_devices_unknown(self) -> None:
        if self.query(DeviceStrip):
            self.query_one(DeviceStrip).snapshot = None

    def _show_devices(self, snapshot: "DeviceSnapshot") -> None:
        if self.is_active and self.query(DeviceStrip):
            self.query_one(DeviceStrip).snapshot = snapshot

    def on_feed_failed(self, message: FeedFailed) -> None:
        super().on_feed_failed(message)
        self._update_summary()

    def on_table_moved(self) -> None:
        self.query_one(RunPreview).row = self.selected
        self.refresh_bindings()

    def on_table_chosen(self, message: Table.Chosen) -> None:
        message.stop()
        self.action_open()

    @property
    def selected(self) -> "RunRow | None":
        """The run under the cursor."""
        return self.table.current

    @property
    def filtered_table(self) -> RunTable:
        return self.table

    def show_filtered(self) -> None:
        self._show()

    def _show(self) -> None:
        order = SORT_ORDERS[self.order_index]
        matching = (row for row in self.rows or () if row.matches(self.filter_text))
        rows = sort_rows(matching, order, reverse=self.reversed_order)
        table = self.table
        table.marked &= {row.id for row in self.rows or ()}
        table.set_sort_mark(order.column, descending=order.descending is not self.reversed_order)
        table.show(rows)
        table.display = bool(rows)
        self.query_one(RunPreview).display = bool(self.rows)
        if rows and self.focused is None:
            self.set_focus(table)
        self._update_summary()

    def _update_summary(self) -> None:
        """The counts at the top, and the sentence in place of an empty list."""
        rows = self.rows
        empty = self.query_one("#empty", Static)
        empty.display = not self.table.display or not rows
        if rows is None:
            self.table.display = False
            empty.display = True
            problem = self.feed_problems.get(RunsFeed.subject)
            empty.update(
                line((f"Runs cannot be read: {problem}", tone("failed")))
                if problem
                else Content.styled("reading runs …", tone("dim"))
            )
            return
        running = sum(row.state is RunState.RUNNING for row in rows)
        parts = [line((formatting.count(len(rows), "run"), tone("dim")))]
        if marked := len(self.table.marked):
            parts.insert(0, line((f"{MARKED_GLYPH} {marked} marked", tone("key"))))
        if (self.order_index, self.reversed_order) != (0, False):
            parts.insert(0, line((f"by {SORT_ORDERS[self.order_index].name}", tone("dim"))))
        if running:
            parts.insert(0, line((f"{RunState.RUNNING.glyph} {running} running", tone("running"))))
        self.query_one(TopBar).right = Content("  ").join(parts)
        if not rows:
            there = self.dashboard.elsewhere
            empty.update(
                _no_runs(str(self.dashboard.settings.home)) if there is None else _no_runs_there(there.address)
            )
        elif empty.display:
            empty.update(line("No run matches ", (printable(self.filter_text), "bold"), "; esc shows all."))

    # --- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        applies = _APPLIES.get(action)
        if applies is not None:
            row = self.selected
            return row is not None and applies(row)
        if action == "filter":
            return self.rows is None or bool(self.rows)  # what is typed after / while they are read is for it
        if action in ("sort", "reverse"):
            return bool(self.rows)
        if action == "save_filter":
            return bool(self.filter_text.strip())
        if action == "filters":
            return bool(self.dashboard.settings.filters)
        if action == "compare":
            return len(self.table.marked) > 1
        if action == "clear":
            return self.filter_open or bool(self.filter_text or self.table.marked)
        return True

    @property
    def marked(self) -> "list[RunRow]":
        """The marked runs, newest first."""
        return [row for row in self.rows or () if row.id in self.table.marked]

    def _with_selected(self, command: "Callable[[RunRow], None]") -> None:
        if self.selected is not None:
            command(self.selected)

    def action_open(self) -> None:
        self._with_selected(lambda row: self.dashboard.open_run(row.folder))

    def action_stop(self) -> None:
        self._with_selected(self.dashboard.run_commands.stop)

    def action_resume(self) -> None:
        self._with_selected(self.dashboard.run_commands.resume)

    def action_rerun(self) -> None:
        self._with_selected(lambda row: self.dashboard.open_rerun_form(row.folder))

    def action_replay(self) -> None:
        self._with_selected(lambda row: self.dashboard.open_replay(row.folder))

    def action_hold(self) -> None:
        self._with_selected(self.dashboard.run_commands.toggle_hold)

    def action_earlier(self) -> None:
        self._with_selected(lambda row: self.dashboard.run_commands.move_in_queue(row, -1))

    def action_later(self) -> None:
        self._with_selected(lambda row: self.dashboard.run_commands.move_in_queue(row, 1))

    def action_remove(self) -> None:
        self._with_selected(lambda row: self.dashboard.run_commands.remove(self.marked or [row]))

    def action_place(self) -> None:
        self._with_selected(lambda row: self.dashboard.show_result_path(row))

    def action_devices(self) -> None:
        self.dashboard.open_devices()

    def action_restore(self) -> None:
        self.dashboard.run_commands.restore(self.dashboard.settings.home)

    def action_mark(self) -> None:
        table = self.table
        if table.current is not None:
            table.marked ^= {table.current.id}
            table.action_down()
            self._show()
            self.refresh_bindings()

    def action_compare(self) -> None:
        self.dashboard.open_compare([row.folder for row in reversed(self.marked)])

    def action_rename(self) -> None:
        self._with_selected(self.dashboard.run_annotator.rename)

    def action_note(self) -> None:
        self._with_selected(self.dashboard.run_annotator.note)

    def action_tags(self) -> None:
        self._with_selected(lambda row: self.dashboard.run_annotator.tags(self.marked or [row]))

    def action_filters(self) -> None:
        run_list_options.choose_filter(self)

    def action_save_filter(self) -> None:
        run_list_options.save_or_remove_filter(self)

    def action_columns(self) -> None:
        run_list_options.choose_columns(self, self.table)

    def action_sort(self) -> None:
        self.order_index, self.reversed_order = (self.order_index + 1) % len(SORT_ORDERS), False
        self._show()

    def action_reverse(self) -> None:
        self.reversed_order = not self.reversed_order
        self._show()

    async def action_clear(self) -> None:
        if not self.filter_text and not self.filter_open:
            self.table.marked.clear()
        await super().action_clear()


# Whether an action on the selected run applies to it.
_APPLIES: "Final[Mapping[str, Callable[[RunRow], bool]]]" = {
    "open": lambda row: True,
    "mark": lambda row: True,
    **dict.fromkeys(("place", "rerun", "rename", "note", "tags"), lambda row: True),
    "stop": lambda row: row.state in (RunState.RUNNING, RunState.QUEUED),
    "resume": lambda row: row.state.can_resume,
    "replay": lambda row: row.state.ended,
    "remove": lambda row: row.state.can_remove,
    **dict.fromkeys(("hold", "earlier", "later"), lambda row: row.state is RunState.QUEUED),
}


def _no_runs_there(address: str) -> Content:
    command = runnable("model-garden train-vision")
    return Content("\n").join(
        [
            Content.styled("❀  No runs yet", tone("key", "bold")),
            Content(),
            line(("There are none on ", tone("dim")), (printable(address), tone("dim"))),
            Content(),
            Content.styled(f"{command} --base-model … --dataset …", tone("smooth", "bold")),
        ]
    )


def _no_runs(home: str) -> Content:
    return Content("\n").join(
        [
            Content.styled("❀  No runs yet", tone("key", "bold")),
            Content(),
            line(
                "Press ",
                ("3", tone("key", "bold")),
                " to start one, or use the command line:",
            ),
            Content(),
            Content.styled(f"{program()} demo", tone("smooth", "bold")),
            Content.styled(f"{program()} train-vision --base-model … --dataset …", tone("smooth", "bold")),
            Content(),
            line(("Runs are stored in ", tone("dim")), (printable(home), tone("dim"))),
        ]
    )
