"""The list of runs, with the devices above it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Input, Static

from mg_tui.core.text import printable
from mg_tui.runs.state import RunState
from mg_tui.tui import words
from mg_tui.tui.actions import bindings
from mg_tui.tui.acts import AGAIN, REMOVABLE
from mg_tui.tui.feeds import DeviceFeed, DevicesRead, FeedFailed, RunsFeed
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.sorting import ORDERS, arranged
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.runs.devices import DeviceStrip
from mg_tui.tui.widgets.runs.rows import MARK, Peek, RunTable
from mg_tui.tui.widgets.table import Table

if TYPE_CHECKING:
    from mg_tui.hardware.devices import DeviceSnapshot
    from mg_tui.tui.snapshot import RunRow

BACKGROUND_SECONDS = 3.0


class RunsScreen(GardenScreen[None]):
    """Every run of the home folder. Reads from the first frame on until the dashboard ends."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("runs")]
    AUTO_FOCUS = "RunTable"
    styles_read = True  # before the first frame, which is of this screen

    def __init__(self) -> None:
        super().__init__()
        self.table = RunTable()
        self.query_text = ""
        self.order = 0
        self.reverse = False
        self.filtering = False  # whether there is a field for the filter

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield DeviceStrip()
        yield self.table
        yield Static(id="empty")
        yield Peek()
        yield KeyBar()

    def on_mount(self) -> None:
        self._devices = DeviceFeed(self, self.garden.device_period, self._run_pids)
        self._say()
        # Reading begins when the first frame is out: its imports would only delay it.
        self.call_after_refresh(self.garden.runs_feed.start)
        self.call_after_refresh(self._devices.start)

    def on_unmount(self) -> None:
        self._devices.end()

    def on_screen_suspend(self) -> None:
        if self.is_mounted:
            self._devices.pause()
            self.garden.runs_feed.slow(BACKGROUND_SECONDS)

    def on_screen_resume(self) -> None:
        if self.is_mounted:
            self._devices.resume()
            self.garden.runs_feed.slow(self.garden.period)
            self.show_runs()

    def _run_pids(self) -> dict[int, str]:
        return {row.pid: row.id for row in self.rows or () if row.pid is not None}

    @property
    def rows(self) -> "tuple[RunRow, ...] | None":
        """Every run; None before they were first read."""
        return self.garden.rows

    # --- what came

    def show_runs(self) -> None:
        if self.rows is not None:
            self.query_one(DeviceStrip).titles = {row.id: row.title for row in self.rows}
            self._show()

    def on_devices_read(self, message: DevicesRead) -> None:
        self.garden.beat.call((self, "devices"), partial(self._show_devices, message.snapshot))

    def _show_devices(self, snapshot: "DeviceSnapshot") -> None:
        if self.is_current:
            self.query_one(DeviceStrip).snapshot = snapshot

    def on_feed_failed(self, message: FeedFailed) -> None:
        super().on_feed_failed(message)
        self._say()

    def on_table_moved(self) -> None:
        self.query_one(Peek).row = self.selected
        self.refresh_bindings()

    def on_table_chosen(self, message: Table.Chosen) -> None:
        message.stop()
        self.action_open()

    @property
    def selected(self) -> "RunRow | None":
        """The run under the cursor."""
        return self.table.current

    def _show(self) -> None:
        order = ORDERS[self.order]
        matching = (row for row in self.rows or () if row.matches(self.query_text))
        rows = arranged(matching, order, reverse=self.reverse)
        table = self.table
        table.marked &= {row.id for row in self.rows or ()}
        table.sort_mark(order.column, descending=order.descending is not self.reverse)
        table.show(rows)
        table.display = bool(rows)
        self.query_one(Peek).display = bool(self.rows)
        if rows and self.focused is None:
            table.focus()
        self._say()

    def _say(self) -> None:
        """The counts at the top, and the sentence in an empty place."""
        rows = self.rows
        empty = self.query_one("#empty", Static)
        empty.display = not self.table.display or not rows
        if rows is None:
            self.table.display = False
            empty.display = True
            problem = self.problems.get(RunsFeed.what)
            empty.update(
                line((f"Runs cannot be read: {problem}", tone("failed")))
                if problem
                else Content.styled("reading runs …", tone("dim"))
            )
            return
        running = sum(row.state is RunState.RUNNING for row in rows)
        said = [line((words.count(len(rows), "run"), tone("dim")))]
        if marked := len(self.table.marked):
            said.insert(0, line((f"{MARK} {marked} marked", tone("key"))))
        if (self.order, self.reverse) != (0, False):
            said.insert(0, line((f"by {ORDERS[self.order].name}", tone("dim"))))
        if running:
            said.insert(0, line((f"{RunState.RUNNING.glyph} {running} running", tone("running"))))
        self.query_one(TopBar).right = Content("  ").join(said)
        if not rows:
            empty.update(_no_runs(str(self.garden.settings.home)))
        elif empty.display:
            empty.update(line("No run matches ", (printable(self.query_text), "bold"), "; esc shows all."))

    # --- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        needed = _NEEDS.get(action)
        if needed is not None:
            row = self.selected
            return row is not None and needed(row)
        if action in ("filter", "sort", "reverse"):
            return bool(self.rows)
        if action == "compare":
            return len(self.table.marked) > 1
        if action == "clear":
            return self.filtering or bool(self.query_text or self.table.marked)
        return True

    @property
    def marked(self) -> "list[RunRow]":
        """The marked runs, newest first."""
        return [row for row in self.rows or () if row.id in self.table.marked]

    def _with_selected(self, act: "Callable[[RunRow], None]") -> None:
        if self.selected is not None:
            act(self.selected)

    def action_open(self) -> None:
        self._with_selected(lambda row: self.garden.open_run(row.folder))

    def action_stop(self) -> None:
        self._with_selected(self.garden.acts.stop)

    def action_resume(self) -> None:
        self._with_selected(self.garden.acts.resume)

    def action_rerun(self) -> None:
        self._with_selected(self.garden.acts.rerun)

    def action_replay(self) -> None:
        self._with_selected(lambda row: self.garden.open_replay(row.folder))

    def action_hold(self) -> None:
        self._with_selected(self.garden.acts.hold)

    def action_earlier(self) -> None:
        self._with_selected(lambda row: self.garden.acts.move(row, -1))

    def action_later(self) -> None:
        self._with_selected(lambda row: self.garden.acts.move(row, 1))

    def action_remove(self) -> None:
        self._with_selected(lambda row: self.garden.acts.remove(self.marked or [row]))

    def action_place(self) -> None:
        self._with_selected(lambda row: self.garden.show_place(row))

    def action_devices(self) -> None:
        self.garden.open_devices()

    def action_mark(self) -> None:
        table = self.table
        if table.current is not None:
            table.marked ^= {table.current.id}
            table.action_down()
            self._show()
            self.refresh_bindings()

    def action_compare(self) -> None:
        self.garden.open_compare([row.folder for row in reversed(self.marked)])

    def action_sort(self) -> None:
        self.order, self.reverse = (self.order + 1) % len(ORDERS), False
        self._show()

    def action_reverse(self) -> None:
        self.reverse = not self.reverse
        self._show()

    async def action_filter(self) -> None:
        if not self.filtering:
            self.filtering = True
            await self.mount(
                Input(self.query_text, placeholder="words of a name, id, state or model", id="filter", compact=True),
                after=self.query_one(DeviceStrip),
            )
        self.query_one("#filter", Input).focus()
        self.refresh_bindings()

    async def action_clear(self) -> None:
        if not self.query_text and not self.filtering:
            self.table.marked.clear()
        self.query_text, self.filtering = "", False
        await self.query("#filter").remove()
        self._show()
        self.table.focus()
        self.refresh_bindings()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.query_text = event.value
        self._show()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        if not event.value.strip():
            await self.action_clear()
        else:
            self.table.focus()


# Whether an action on the selected run applies to it.
_NEEDS: "Final[Mapping[str, Callable[[RunRow], bool]]]" = {
    "open": lambda row: True,
    "mark": lambda row: True,
    "place": lambda row: True,
    "rerun": lambda row: True,
    "stop": lambda row: row.state in (RunState.RUNNING, RunState.QUEUED),
    "resume": lambda row: row.state in AGAIN,
    "replay": lambda row: row.state.ended,
    "remove": lambda row: row.state in REMOVABLE,
    **dict.fromkeys(("hold", "earlier", "later"), lambda row: row.state is RunState.QUEUED),
}


def _no_runs(home: str) -> Content:
    return Content("\n").join(
        [
            Content.styled("❀  No runs yet", tone("key", "bold")),
            Content(),
            line(
                "Press ",
                ("3", tone("key", "bold")),
                " and start one, or start one elsewhere; it is shown here at once:",
            ),
            Content(),
            Content.styled("model-garden demo", tone("smooth", "bold")),
            Content.styled("model-garden train-vision --base-model … --dataset …", tone("smooth", "bold")),
            Content(),
            line(("Runs are kept in ", tone("dim")), (printable(home), tone("dim"))),
        ]
    )
