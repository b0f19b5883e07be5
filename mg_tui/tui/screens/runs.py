"""The list of runs, with the devices above it."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Input, Static

from mg_tui.core.text import printable
from mg_tui.runs.state import RunState
from mg_tui.tui import words
from mg_tui.tui.actions import bindings
from mg_tui.tui.feeds import DeviceFeed, DevicesRead, FeedFailed, RunsFeed
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.snapshot import RunRow
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.runs.devices import DeviceStrip
from mg_tui.tui.widgets.runs.rows import Peek, RunTable
from mg_tui.tui.widgets.table import Table

BACKGROUND_SECONDS = 3.0


class RunsScreen(GardenScreen[None]):
    """Every run of the home folder. Reads from the first frame on until the dashboard ends."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("runs")]
    AUTO_FOCUS = "RunTable"

    def __init__(self) -> None:
        super().__init__()
        self.query_text = ""

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield DeviceStrip()
        yield RunTable()
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
    def rows(self) -> tuple[RunRow, ...] | None:
        """Every run; None before they were first read."""
        return self.garden.rows

    # --- what came

    def show_runs(self) -> None:
        if self.rows is not None:
            self.query_one(DeviceStrip).titles = {row.id: row.title for row in self.rows}
            self._show()

    def on_devices_read(self, message: DevicesRead) -> None:
        if self.is_current:
            self.query_one(DeviceStrip).snapshot = message.snapshot

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
    def selected(self) -> RunRow | None:
        """The run under the cursor."""
        return self.query_one(RunTable).current

    def _show(self) -> None:
        rows = [row for row in self.rows or () if row.matches(self.query_text)]
        table = self.query_one(RunTable)
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
        empty.display = not self.query_one(RunTable).display or not rows
        if rows is None:
            self.query_one(RunTable).display = False
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
        if running:
            said.insert(0, line((f"{RunState.RUNNING.glyph} {running} running", tone("running"))))
        self.query_one(TopBar).right = Content("  ").join(said)
        if not rows:
            empty.update(_no_runs(str(self.garden.settings.home)))
        elif empty.display:
            empty.update(line("No run matches ", (printable(self.query_text), "bold"), "; esc shows all."))

    # --- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        row = self.selected if self.is_mounted and self.query(RunTable) else None
        if action == "open":
            return row is not None
        if action == "stop":
            return row is not None and row.state is RunState.RUNNING
        if action == "filter":
            return bool(self.rows)
        if action == "clear":
            return bool(self.query_text) or bool(self.query("#filter"))
        return True

    def action_open(self) -> None:
        if self.selected is not None:
            self.garden.open_run(self.selected.folder)

    def action_stop(self) -> None:
        if self.selected is not None:
            self.garden.ask_stop(self.selected)

    async def action_filter(self) -> None:
        if not self.query("#filter"):
            await self.mount(
                Input(self.query_text, placeholder="words of a name, id, state or model", id="filter", compact=True),
                after=self.query_one(DeviceStrip),
            )
        self.query_one("#filter", Input).focus()
        self.refresh_bindings()

    async def action_clear(self) -> None:
        self.query_text = ""
        await self.query("#filter").remove()
        self._show()
        self.query_one(RunTable).focus()
        self.refresh_bindings()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.query_text = event.value
        self._show()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        if not event.value.strip():
            await self.action_clear()
        else:
            self.query_one(RunTable).focus()


def _no_runs(home: str) -> Content:
    return Content("\n").join(
        [
            Content.styled("❀  No runs yet", tone("key", "bold")),
            Content(),
            line("Leave with ", ("q", tone("key", "bold")), " and start one; it is shown here at once:"),
            Content(),
            Content.styled("model-garden demo", tone("smooth", "bold")),
            Content.styled("model-garden train-vision --base-model … --dataset …", tone("smooth", "bold")),
            Content(),
            line(("Runs are kept in ", tone("dim")), (printable(home), tone("dim"))),
        ]
    )
