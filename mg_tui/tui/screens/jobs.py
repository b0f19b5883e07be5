"""Merges, exports, verifications and pushes: their progress, read while it is shown, and what came of them."""

import time
from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from mg_tui.core.errors import UsageError, describe_exception
from mg_tui.runs.model_jobs import ModelJobFolder
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunStore
from mg_tui.tui import formatting
from mg_tui.tui.actions import bindings
from mg_tui.tui.jobs.listing import JobItem, build_job
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.screens.plain_text import PlainTextScreen
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.error_band import ErrorBand
from mg_tui.tui.widgets.jobs.table import JobPreview, JobTable, job_figures
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.table import Table

_PERIOD = 0.5  # seconds between two reads
_LOG_LINES = 60


class JobsListed(Message):
    """The jobs, or why they could not be listed."""

    def __init__(self, items: tuple[JobItem, ...], problem: str | None = None) -> None:
        super().__init__()
        self.items, self.problem = items, problem


class JobsScreen(GardenScreen[None]):
    """The list of jobs."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("jobs")]
    AUTO_FOCUS = "JobTable"

    def __init__(self, wanted: str | None = None) -> None:
        """`wanted`: the id of the job to go to once it is listed."""
        super().__init__()
        self.items: tuple[JobItem, ...] | None = None
        self._wanted = wanted

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield ErrorBand()
        yield JobTable()
        yield Static(id="empty")
        yield JobPreview()
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(TopBar).breadcrumb = "models › jobs"
        self._store = RunStore(self.dashboard.settings.home, ModelJobFolder)
        self.set_interval(_PERIOD, self.refresh_jobs)
        self.call_after_refresh(self.refresh_jobs)
        self._show()

    def refresh_jobs(self) -> None:
        """List the jobs again, in a thread."""
        if self.is_current:
            self.run_worker(self._find, thread=True, exclusive=True, group="jobs", exit_on_error=False)

    def _find(self) -> None:
        try:
            now = time.time()
            message = JobsListed(tuple(build_job(summary, now) for summary in self._store.refresh()))
        except Exception as error:  # whatever a disk raises
            message = JobsListed((), describe_exception(error))
        self.post_message(message)

    def on_jobs_listed(self, message: JobsListed) -> None:
        if message.problem:
            self.query_one(ErrorBand).error = UsageError("cannot list the jobs", why=message.problem)
            self.items = self.items or ()
        else:
            self.items = message.items
        self._show()

    def on_table_moved(self) -> None:
        self.query_one(JobPreview).item = self.selected
        self.refresh_keys()

    def on_table_chosen(self, message: Table.Chosen) -> None:
        message.stop()
        self.action_open()

    @property
    def selected(self) -> JobItem | None:
        """The job under the cursor."""
        return self.query_one(JobTable).current

    def _show(self) -> None:
        table, empty = self.query_one(JobTable), self.query_one("#empty", Static)
        items = list(self.items or ())
        table.show(items)
        if self._wanted is not None and any(item.id == self._wanted for item in items):
            table.move(next(index for index, item in enumerate(items) if item.id == self._wanted))
            self._wanted = None
        self.query_one(JobPreview).item = self.selected
        table.display = self.query_one(JobPreview).display = bool(items)
        empty.display = not items
        running = sum(item.state is RunState.RUNNING for item in items)
        parts = [Content.styled(f"{RunState.RUNNING.glyph} {running} running", tone("running"))] if running else []
        parts.append(Content.styled(formatting.count(len(items), "job"), tone("dim")))
        self.query_one(TopBar).right = Content("  ").join(parts)
        if self.items is None:
            empty.update(Content.styled("reading jobs …", tone("dim")))
        else:
            keys = (("m", " merges, "), ("w", " exports, "), ("c", " verifies and "), ("p", " pushes it."))
            shown = [part for key, what in keys for part in ((key, tone("key", "bold")), what)]
            empty.update(line("No jobs yet; on a model ", *shown))
        if items and self.focused is None:
            self.set_focus(table)
        self.refresh_keys()

    # --- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        item = self.selected if self.is_mounted and self.query(JobTable) else None
        match action:
            case "open" | "log":
                return item is not None
            case "stop":
                return item is not None and item.state is RunState.RUNNING
            case "remove":
                return item is not None and item.state.can_remove
        return True

    def action_open(self) -> None:
        if (item := self.selected) is not None:
            text = "\n".join([item.status_text, *job_figures(item)])
            self.dashboard.push_screen(PlainTextScreen(item.title, text, f"folder of the job: {item.folder.path}"))

    def action_log(self) -> None:
        from mg_tui.runs.worker_log import read_tail, strip_terminal_codes

        if (item := self.selected) is not None:
            text = "\n".join(map(strip_terminal_codes, read_tail(item.folder.log_file, _LOG_LINES)))
            self.dashboard.push_screen(PlainTextScreen(f"Log of {item.title}", text or "nothing was printed"))

    def action_stop(self) -> None:
        if (item := self.selected) is None:
            return

        def job() -> str:
            from mg_tui.runs import operations
            from mg_tui.runs.control import requester

            operations.request_stop(item.folder, requester("dashboard"), patience=0.0)
            return "asked to stop"

        detail = (
            "What it has sent is not sent again by the next push."
            if item.operation == "push"
            else "What it has written is removed."
        )
        self._confirm(f"Stop: {item.title}?", detail, "Stop", item, job)

    def action_remove(self) -> None:
        if (item := self.selected) is None:
            return

        def job() -> str:
            from mg_tui.runs.remove import remove_run

            remove_run(item.folder, permanently=True)
            return "deleted from the list"

        self._confirm(f"Delete from the list: {item.title}?", "What it wrote or pushed stays.", "Delete", item, job)

    def _confirm(self, question: str, detail: str, yes: str, item: JobItem, job: Callable[[], str]) -> None:
        run = self.dashboard.run_commands.run_in_thread
        self.dashboard.confirm(question, detail, yes, lambda: run(item.title, job))

    def action_back(self) -> None:
        self.dashboard.pop_screen()
