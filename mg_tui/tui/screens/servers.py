"""The servers that run: address, requests/s and latency, read while it is shown; one key stops one."""

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from mg_tui.core.errors import GardenError, UsageError, describe_exception
from mg_tui.runs.servers import STATUS_SECONDS
from mg_tui.tui import formatting
from mg_tui.tui.actions import bindings
from mg_tui.tui.models.served import ServerRow, list_servers, stop_server
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.error_band import ErrorBand
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.models.server_table import ServerPreview, ServerTable


class ServersListed(Message):
    """The servers, or why they could not be listed."""

    def __init__(self, rows: tuple[ServerRow, ...], problem: str | None = None) -> None:
        super().__init__()
        self.rows, self.problem = rows, problem


class ServersScreen(GardenScreen[None]):
    """The list of servers. With `start`, a server is started in a thread first; its error is shown here."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("servers")]
    AUTO_FOCUS = "ServerTable"

    def __init__(self, start: Callable[[], object] | None = None) -> None:
        super().__init__()
        self.rows: tuple[ServerRow, ...] | None = None
        self._start = start

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield ErrorBand()
        yield ServerTable()
        yield Static(id="empty")
        yield ServerPreview()
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(TopBar).breadcrumb = "models › servers"
        if self._start is not None:
            self.run_worker(self._start_in_thread, thread=True, exit_on_error=False)
        self.set_interval(STATUS_SECONDS, self.refresh_servers)
        self.call_after_refresh(self.refresh_servers)
        self._show()

    def refresh_servers(self) -> None:
        """List the servers again, in a thread."""
        if self.is_current:
            self.run_worker(self._find, thread=True, exclusive=True, group="servers", exit_on_error=False)

    def _start_in_thread(self) -> None:
        assert self._start is not None
        try:
            self._start()
        except GardenError as error:
            self.dashboard.call_from_thread(self._show_error, error)
        except Exception as error:  # a bug must not vanish with its thread
            self.dashboard.call_from_thread(self._show_error, GardenError(describe_exception(error)))

    def _find(self) -> None:
        try:
            message = ServersListed(list_servers(self.dashboard.settings.home))
        except Exception as error:  # whatever a disk raises
            message = ServersListed((), describe_exception(error))
        self.post_message(message)

    def on_servers_listed(self, message: ServersListed) -> None:
        if message.problem:
            self._show_error(UsageError("cannot list the servers", why=message.problem))
            self.rows = self.rows or ()
        elif message.rows != self.rows:
            self.rows = message.rows
        self._show()

    def on_table_moved(self) -> None:
        self.query_one(ServerPreview).row = self.selected
        self.refresh_keys()

    @property
    def selected(self) -> ServerRow | None:
        """The server under the cursor."""
        return self.query_one(ServerTable).current

    def _show(self) -> None:
        table, empty = self.query_one(ServerTable), self.query_one("#empty", Static)
        table.show(list(self.rows or ()))
        self.query_one(ServerPreview).row = self.selected
        table.display = bool(self.rows)
        empty.display = not self.rows
        running = sum(row.running for row in self.rows or ())
        self.query_one(TopBar).right = Content.styled(formatting.count(running, "running server"), tone("dim"))
        if self.rows is None:
            empty.update(Content.styled("reading servers …", tone("dim")))
        else:
            empty.update(line("No server runs; ", ("v", tone("key", "bold")), " on a model serves it."))
        if self.rows and self.focused is None:
            self.set_focus(table)
        self.refresh_keys()

    def _show_error(self, error: GardenError) -> None:
        self.query_one(ErrorBand).error = error

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "stop":
            row = self.selected if self.is_mounted and self.query(ServerTable) else None
            return row is not None and row.running
        return True

    def action_stop(self) -> None:
        row = self.selected
        if row is None:
            return

        def stop() -> None:
            try:
                told = stop_server(row.folder)
            except GardenError as error:
                self.dashboard.call_from_thread(self.dashboard.notify_error, error, row.models)
            else:
                self.dashboard.call_from_thread(self.dashboard.notify, f"{row.models}: {told}", markup=False)

        self.run_worker(stop, thread=True, exit_on_error=False)

    def action_back(self) -> None:
        self.dashboard.pop_screen()
