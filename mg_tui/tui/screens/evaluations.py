"""The evaluations of a run or a model, or of all: live, newest first."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from mg_tui.core.text import one_line, printable
from mg_tui.runs.state import RunState
from mg_tui.tui import formatting
from mg_tui.tui.actions import bindings
from mg_tui.tui.evaluations.commands import EvaluationCommands
from mg_tui.tui.evaluations.feeds import EvaluationsFeed, EvaluationsUpdated
from mg_tui.tui.evaluations.listing import EvaluationItem, EvaluationSubject
from mg_tui.tui.screens.filter_screen import FilterScreen
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.error_band import ErrorBand
from mg_tui.tui.widgets.evaluations.list_table import EvaluationListTable, EvaluationPreview
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.table import Table


class EvaluationListScreen(FilterScreen):
    """The list, read while it is shown."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("evaluations")]
    AUTO_FOCUS = "EvaluationListTable"
    filter_placeholder = "words of a model, dataset, id or state"

    def __init__(self, subject: EvaluationSubject, start: Callable[[], None]) -> None:
        """`start` asks for what is left open and opens the form of a new evaluation of the subject."""
        super().__init__()
        self.subject = subject
        self.items: tuple[EvaluationItem, ...] | None = None
        self.shows_all = False
        self._start = start

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield ErrorBand()
        yield EvaluationListTable()
        yield Static(id="empty")
        yield EvaluationPreview()
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(TopBar).breadcrumb = f"{self.subject.title} › evaluations"
        app = self.dashboard
        self.commands = EvaluationCommands(app.confirm, app.run_commands.run_in_thread)
        self._feed = EvaluationsFeed(self, app.settings.home, app.update_period)
        self.call_after_refresh(self._feed.start)
        self._show()

    def on_unmount(self) -> None:
        self._feed.stop()

    def on_screen_suspend(self) -> None:
        if self.is_mounted:
            self._feed.pause()

    def on_screen_resume(self) -> None:
        if self.is_mounted:
            self._feed.resume()
            self._show()

    # --- the list

    def on_evaluations_updated(self, message: EvaluationsUpdated) -> None:
        first, self.items = self.items is None, message.items
        self.dashboard.coalescer.schedule((self, "evaluations"), self._show_if_current, at_once=first)

    def _show_if_current(self) -> None:
        if self.is_current:
            self._show()

    def on_table_moved(self) -> None:
        self.query_one(EvaluationPreview).item = self.selected
        self.refresh_keys()

    def on_table_chosen(self, message: Table.Chosen) -> None:
        message.stop()
        self.action_open()

    @property
    def selected(self) -> EvaluationItem | None:
        """The evaluation under the cursor."""
        return self.query_one(EvaluationListTable).current

    @property
    def filtered_table(self) -> EvaluationListTable:
        return self.query_one(EvaluationListTable)

    @property
    def below_filter(self) -> Widget:
        return self.query_one(ErrorBand)

    def show_filtered(self) -> None:
        self._show()

    def _show(self) -> None:
        listed = [item for item in self.items or () if self.shows_all or self.subject.covers(item)]
        visible = [item for item in listed if item.matches(self.filter_text)]
        table, empty = self.query_one(EvaluationListTable), self.query_one("#empty", Static)
        table.show(visible)
        table.display = bool(visible)
        empty.display = not visible
        self.query_one(EvaluationPreview).display = bool(visible)
        if visible and self.focused is None:
            self.set_focus(table)
        running = sum(item.state is RunState.RUNNING for item in listed)
        parts = [Content.styled("of all models" if self.shows_all else "", tone("eval"))]
        parts += [Content.styled(f"{RunState.RUNNING.glyph} {running} running", tone("running"))] if running else []
        parts.append(Content.styled(formatting.count(len(listed), "evaluation"), tone("dim")))
        self.query_one(TopBar).right = Content("  ").join(part for part in parts if part.plain)
        if self.items is None:
            empty.update(Content.styled("reading evaluations …", tone("dim")))
        elif listed:
            empty.update(line("No evaluation matches ", (printable(self.filter_text), "bold"), "; esc shows all."))
        else:
            empty.update(_nothing_yet(self.subject))
        self.refresh_keys()

    # --- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        item = self.selected if self.is_mounted and self.query(EvaluationListTable) else None
        match action:
            case "open" | "again":
                return item is not None
            case "stop":
                return item is not None and item.state is RunState.RUNNING
            case "resume":
                return item is not None and item.state.can_resume
            case "remove":
                return item is not None and item.state.can_remove
            case "new":
                return self.subject.model is not None
            case "filter":
                return self.items is None or bool(self.items)
        return True

    def action_open(self) -> None:
        if self.selected is not None:
            from mg_tui.tui.screens.evaluation import ResultScreen

            self.dashboard.push_screen(ResultScreen(self.selected.folder))

    def action_new(self) -> None:
        if self.subject.model is not None:
            self._start()

    def action_again(self) -> None:
        from mg_tui.tui.screens.evaluation_form import EvaluationForm

        if (item := self.selected) is not None and isinstance(item.spec.get("model"), str):
            subject = EvaluationSubject(item.model, str(item.spec["model"]))
            values: dict[str, Any] = {name: value for name, value in item.spec.items() if value is not None}
            self.dashboard.push_screen(EvaluationForm(subject, values, cwd=Path.cwd()))

    def action_stop(self) -> None:
        if self.selected is not None:
            self.commands.stop(self.selected)

    def action_resume(self) -> None:
        if self.selected is not None:
            self.commands.resume(self.selected)

    def action_remove(self) -> None:
        if self.selected is not None:
            self.commands.remove(self.selected)

    def action_every(self) -> None:
        self.shows_all = not self.shows_all
        self._show()

    async def action_back(self) -> None:
        if self.filter_open or self.filter_text:
            await self.action_clear()
        else:
            self.dashboard.pop_screen()


def _nothing_yet(subject: EvaluationSubject) -> Content:
    title = one_line(subject.title, limit=60)
    if subject.model is None:
        lines = [line("Nothing of ", (title, "bold"), " can be evaluated yet: it has no result and no checkpoint.")]
    else:
        lines = [
            line(("n", tone("key", "bold")), " evaluates ", (title, "bold"), " on a dataset;"),
            line("rows, scores and what changed against another model are shown here."),
        ]
    head = Content.styled("❀  No evaluations yet", tone("key", "bold"))
    every = line(("a", tone("key", "bold")), (" shows the evaluations of all models", tone("dim")))
    return Content("\n").join([head, Content(), *lines, Content(), every])
