"""The models of this machine: results of runs and merges, and base models that need no download."""

from functools import partial
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from mg_tui.core.errors import UsageError, describe_exception
from mg_tui.core.text import one_line, printable
from mg_tui.runs import recents
from mg_tui.tui import formatting
from mg_tui.tui.actions import bindings
from mg_tui.tui.choice import Choice
from mg_tui.tui.models.catalog import EXACT_MATCH, ModelRow, find_models
from mg_tui.tui.models.sorting import TIME_ORDER, model_orders, sort_models
from mg_tui.tui.screens.filter_screen import FilterScreen
from mg_tui.tui.screens.model_commands import ModelCommands
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.error_band import ErrorBand
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.models.model_table import ModelPreview, ModelTable
from mg_tui.tui.widgets.table import Table


class ModelsListed(Message):
    """The models, or why they could not be listed."""

    def __init__(self, rows: tuple[ModelRow, ...], problem: str | None = None) -> None:
        super().__init__()
        self.rows, self.problem = rows, problem


class ModelsScreen(FilterScreen):
    """The list, refreshed whenever it is shown."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("models")]
    AUTO_FOCUS = "ModelTable"
    filter_placeholder = "filter by name, kind, base or run"

    def __init__(self) -> None:
        super().__init__()
        self.rows: tuple[ModelRow, ...] | None = None
        self._order, self._reversed = TIME_ORDER, False
        self._wanted: str | None = None  # the model to go to once the models are listed

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield ErrorBand()
        yield ModelTable()
        yield Static(id="empty")
        yield ModelPreview()
        yield KeyBar()

    def on_mount(self) -> None:
        self._commands = ModelCommands(self.dashboard, self.refresh_models)
        self._show()

    def on_screen_resume(self) -> None:
        self.call_after_refresh(self.refresh_models)

    def refresh_models(self) -> None:
        """List the models again, in a thread."""
        self.run_worker(self._find_models, thread=True, exclusive=True, group="look", exit_on_error=False)

    def _find_models(self) -> None:
        try:
            message = ModelsListed(find_models(self.dashboard.settings.home))
        except Exception as error:  # whatever a disk or a plugin raises
            message = ModelsListed((), describe_exception(error))
        self.post_message(message)

    # --- the list

    def on_models_listed(self, message: ModelsListed) -> None:
        if message.problem:
            self.query_one(ErrorBand).error = UsageError("cannot list the models", why=message.problem)
            self.rows = self.rows or ()
        elif message.rows != self.rows:
            self.rows = message.rows
        self._show()

    def on_table_moved(self) -> None:
        self.query_one(ModelPreview).row = self.selected
        self.refresh_keys()

    def on_table_chosen(self, message: Table.Chosen) -> None:
        message.stop()
        self.action_chat()

    @property
    def selected(self) -> ModelRow | None:
        """The model under the cursor."""
        return self.query_one(ModelTable).current

    @property
    def filtered_table(self) -> ModelTable:
        return self.query_one(ModelTable)

    @property
    def below_filter(self) -> Widget:
        return self.query_one(ErrorBand)

    def show_filtered(self) -> None:
        self._show()

    def go_to(self, reference: str) -> None:
        """Put the cursor on a model, as soon as it is listed."""
        self.filter_text = ""
        self.query("#filter").remove()
        self.filter_open = False
        self._wanted = reference
        self._show()

    def _show(self) -> None:
        visible = [row for row in self.rows or () if row.matches(self.filter_text)]
        table, empty = self.query_one(ModelTable), self.query_one("#empty", Static)
        order = next((order for order in model_orders(self.rows or ()) if order.id == self._order.id), TIME_ORDER)
        table.show_metric(order.id.removeprefix("metric:") if order.column == "match" else EXACT_MATCH)
        table.set_sort_mark(order.column, descending=order.descending is not self._reversed)
        visible = sort_models(visible, order, reverse=self._reversed)
        table.show(visible)
        if self._wanted is not None and self.rows is not None:
            table.move(next((i for i, row in enumerate(visible) if row.reference == self._wanted), table.cursor))
            self._wanted = None
        table.display = bool(visible)
        empty.display = not visible
        self.query_one(ModelPreview).display = bool(visible)
        if visible and self.focused is None:
            self.set_focus(table)
        if self.rows is None:
            empty.update(Content.styled("looking for models …", tone("dim")))
            return
        results = sum(row.is_result for row in self.rows)
        bases = sum(row.kind == "base" for row in self.rows)
        by = "" if order is TIME_ORDER else f"by {order.title.lower()}  "
        counts = f"{by}{formatting.count(results, 'result')}  {formatting.count(bases, 'base model')}"
        self.query_one(TopBar).right = Content.styled(counts if self.has_class("-wide") else "", tone("dim"))
        if not visible and self.rows:
            empty.update(line("No model matches ", (printable(self.filter_text), "bold"), "; esc shows all."))
        elif not visible:
            empty.update(_no_models())

    # --- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        row = self.selected if self.is_mounted and self.query(ModelTable) else None
        match action:
            case "evaluations":
                return row is not None
            case "chat" | "evaluate" | "serve":
                return row is not None and row.kind != "broken"
            case "exam":
                return row is not None and row.is_result
            case "merge":
                return row is not None and row.kind == "adapter"
            case "export" | "push":
                return row is not None and row.is_result
            case "verify":
                return row is not None and row.kind != "broken"
            case "remove":
                return row is not None and row.folder is not None and row.kind != "base"
            case "sort" | "reverse":
                return bool(self.rows)
            case "run":
                return row is not None and row.run_folder is not None
            case "filter":
                return self.rows is None or bool(self.rows)  # what is typed after / while they are read is for it
            case "clear":
                return self.filter_open or bool(self.filter_text)
        return True

    def action_chat(self) -> None:
        from mg_tui.tui.screens.chat import ChatScreen

        if self.selected is not None and self.selected.kind != "broken":
            self.dashboard.push_screen(ChatScreen(self.selected))

    def action_exam(self) -> None:
        from mg_tui.tui.screens.evaluate import EvaluateScreen

        if self.selected is not None:
            self.dashboard.push_screen(EvaluateScreen(self.selected))

    def action_evaluations(self) -> None:
        from mg_tui.tui.screens.evaluation_keys import open_model_evaluations

        if self.selected is not None:
            open_model_evaluations(self.dashboard, self.selected)

    def action_evaluate(self) -> None:
        from mg_tui.tui.screens.evaluation_keys import evaluate_model

        if self.selected is not None:
            evaluate_model(self.dashboard, self.selected)

    def action_serve(self) -> None:
        if self.selected is not None:
            row = self.selected
            detail = (
                "It answers at an address of this machine for processes of this user, and keeps running when the "
                "dashboard is closed. Its first held-out rows are compared with the trained model's answers."
            )
            self.dashboard.confirm(f"Serve {row.title}?", detail, "Serve", partial(self._serve, row))

    def _serve(self, row: ModelRow) -> None:
        from mg_tui.tui.models.served import start_server
        from mg_tui.tui.screens.servers import ServersScreen

        self.dashboard.push_screen(ServersScreen(partial(start_server, self.dashboard.settings, row.reference)))

    def action_servers(self) -> None:
        from mg_tui.tui.screens.servers import ServersScreen

        self.dashboard.push_screen(ServersScreen())

    def action_run(self) -> None:
        from mg_tui.runs.folder import RunFolder

        if self.selected is not None and self.selected.run_folder is not None:
            self.dashboard.open_run(RunFolder(self.selected.run_folder))

    def action_add(self) -> None:
        from mg_tui.tui.screens.picker import PickScreen

        home = self.dashboard.settings.home
        picker = PickScreen("model", "Open a model", recents.read(home, "models"))
        self.dashboard.push_screen(picker, self._add)

    def _add(self, reference: str | None) -> None:
        from mg_tui.tui.screens.chat import ChatScreen

        if reference is None:
            return
        recents.remember(self.dashboard.settings.home, "models", reference)
        self.filter_text = ""
        listed = next((row for row in self.rows or () if row.reference == reference), None)
        self.dashboard.push_screen(ChatScreen(listed or ModelRow(reference, "base", one_line(reference, limit=200))))

    # --- order and trash

    def action_sort(self) -> None:
        from mg_tui.tui.screens.choose import ChooseScreen

        choices = [
            Choice(order.id, order.title, marked=order.id == self._order.id) for order in model_orders(self.rows or ())
        ]
        help = "Models without a value come last; S reverses the order."
        self.dashboard.push_screen(ChooseScreen("Sort by", choices, help=help), self._sort_by)

    def _sort_by(self, ids: tuple[str, ...] | None) -> None:
        if ids:
            self._order = next(order for order in model_orders(self.rows or ()) if order.id == ids[0])
            self._reversed = False
            self._show()

    def action_reverse(self) -> None:
        self._reversed = not self._reversed
        self._show()

    def action_remove(self) -> None:
        if self.selected is not None:
            self._commands.remove(self.selected)

    def action_restore(self) -> None:
        self._commands.restore()

    # --- jobs

    def _open_job_form(self, operation: str) -> None:
        from mg_tui.tui.screens.job_form import JobForm

        if (row := self.selected) is not None:
            self.dashboard.push_screen(JobForm(operation, row.reference, row.title))

    def action_merge(self) -> None:
        self._open_job_form("merge")

    def action_export(self) -> None:
        self._open_job_form("export")

    def action_verify(self) -> None:
        self._open_job_form("verify")

    def action_push(self) -> None:
        self._open_job_form("push")

    def action_jobs(self) -> None:
        from mg_tui.tui.screens.jobs import JobsScreen

        self.dashboard.push_screen(JobsScreen())


def _no_models() -> Content:
    return Content("\n").join(
        [
            Content.styled("❀  No models yet", tone("key", "bold")),
            Content(),
            line("Finished runs list their results here; ", ("o", tone("key", "bold")), " opens a folder."),
        ]
    )
