"""Evaluation of a result on held-out rows: its answers beside those of its base model, as they come."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from mg_tui.core.text import one_line
from mg_tui.runs import recents
from mg_tui.tui import evaluation_scores, formatting
from mg_tui.tui.actions import bindings
from mg_tui.tui.engine_client import EngineClient, EngineEvent, EngineRequestFailed
from mg_tui.tui.image_view import ImageView
from mg_tui.tui.models.catalog import ModelRow
from mg_tui.tui.models.evaluated_row import EvaluatedRow
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.error_band import ErrorBand
from mg_tui.tui.widgets.image_box import ImageBox
from mg_tui.tui.widgets.job_line import JobLine
from mg_tui.tui.widgets.models.evaluation import ROW_FILTERS, EvaluatedRowText, EvaluationHead, EvaluationTable
from mg_tui.tui.widgets.table import Table

EVALUATE_PROGRAM = "mg_tui.engine.inference.evaluate"
MAX_ROWS = 200
BATCH_SIZE = 8  # rows in a batch: the first answers come soon, and cancelling takes a batch
MAX_NEW_TOKENS = 128
MIN_ROWS_FOR_SCORE = 4  # fewer rows say little


class EvaluateScreen(GardenScreen[None]):
    """Loads the model, generates the answers, shows them."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("exam")]
    AUTO_FOCUS = "EvaluationTable"

    def __init__(self, row: ModelRow) -> None:
        super().__init__()
        self.model = row
        self.rows: list[EvaluatedRow] = []
        self._filter_index = 0
        self._running = False

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield EvaluationHead(self.model.title)
        yield ErrorBand()
        yield JobLine()
        yield EvaluationTable()
        yield Static(id="empty")
        with Horizontal(id="lower"):
            yield ImageBox("no image")
            with VerticalScroll(can_focus=False):
                yield EvaluatedRowText()
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(TopBar).breadcrumb = f"{self.model.title} › before and after"
        self._engine = EngineClient(self, EVALUATE_PROGRAM)
        self._engine.request("load", model=self.model.reference, home=str(self.dashboard.settings.home))
        self._evaluate(None)

    def on_unmount(self) -> None:
        self._engine.shut_down()

    def _evaluate(self, dataset: str | None) -> None:
        self.rows = []
        self._running = True
        self.query_one(ErrorBand).error = None
        self.query_one(JobLine).start("answering")
        fields = {"dataset": dataset} if dataset is not None else {}
        self._engine.request(
            "exam",
            base_too=self.model.kind == "adapter",
            limit=MAX_ROWS,
            batch_size=BATCH_SIZE,
            max_new_tokens=MAX_NEW_TOKENS,
            cache=str(self.dashboard.settings.cache),
            **fields,
        )
        self._show()

    # --- events of the engine

    def on_engine_event(self, message: EngineEvent) -> None:
        event, head = message.event, self.query_one(EvaluationHead)
        match event.get("event"):
            case "ready":
                head.state = one_line(f"{event.get('device')} {event.get('dtype')}")
            case "notice":
                head.dataset_note = str(event.get("text", ""))
            case "progress":
                self.rows += [EvaluatedRow.from_record(item) for item in event.get("rows", ())]
                done, total = int(event["done"]), int(event["total"])
                self.query_one(JobLine).progress(f"{done}/{total} rows", done / total if total else None)
                self._show()
            case "exam":
                self._finish()
                self._save_score()
                if event.get("ended") == "cancelled":
                    self.notify(f"stopped after {formatting.count(len(self.rows), 'row')}", markup=False)

    def _save_score(self) -> None:
        """Record the score for the list of models."""
        if self.model.is_result and len(self.rows) >= MIN_ROWS_FOR_SCORE:
            exact = sum(item.is_correct for item in self.rows)
            evaluation_scores.remember(
                self.dashboard.settings.home, self.model.reference, exact=exact, rows=len(self.rows)
            )

    def on_engine_request_failed(self, message: EngineRequestFailed) -> None:
        if self.query_one(ErrorBand).error is None:  # later errors follow from the first one
            self.query_one(ErrorBand).error = message.error
        if message.op == "load":
            self.query_one(EvaluationHead).state = ""
        if message.op == "exam":
            self._finish()

    def _finish(self) -> None:
        self._running = False
        self.query_one(JobLine).finish()
        self._show()
        self.refresh_keys()

    def _show(self) -> None:
        verdicts = ROW_FILTERS[self._filter_index][1]
        visible = [item for item in self.rows if item.verdict in verdicts]
        table, empty = self.query_one(EvaluationTable), self.query_one("#empty", Static)
        table.show(visible)
        table.display = bool(visible)
        empty.display = not visible
        self.query_one("#lower").display = bool(visible)
        head = self.query_one(EvaluationHead)
        head.rows, head.filter_index = tuple(self.rows), self._filter_index
        head.redraw()
        if not visible:
            empty.update(Content.styled(self._placeholder(), tone("dim")))
        elif self.focused is None:
            self.set_focus(table)
        self.refresh_keys()

    def _placeholder(self) -> str:
        if self.rows:
            return f"No row: {ROW_FILTERS[self._filter_index][0]} rows are shown; f changes the filter."
        if self._running:
            return "The adapter and its base model answer the held-out rows."
        return "No rows were answered. Press a to choose another dataset."

    def on_table_moved(self) -> None:
        item = self.query_one(EvaluationTable).current
        self.query_one(EvaluatedRowText).item = item
        self.query_one(ImageBox).show([ImageView(path, path.name) for path in item.images] if item else [])

    def on_table_chosen(self, message: Table.Chosen) -> None:
        message.stop()
        self.action_chat()

    # --- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "only":
                return bool(self.rows)
            case "cancel":
                return self._running
            case "again":
                return not self._running
            case "chat":
                return bool(self.is_mounted and self.query(EvaluationTable) and self.query_one(EvaluationTable).current)
        return True

    def action_only(self) -> None:
        self._filter_index = (self._filter_index + 1) % len(ROW_FILTERS)
        self._show()

    def action_chat(self) -> None:
        from mg_tui.tui.screens.chat import ChatScreen

        item = self.query_one(EvaluationTable).current
        if item is not None:
            self.dashboard.push_screen(ChatScreen(self.model, item.chat_question))

    def action_again(self) -> None:
        from mg_tui.tui.screens.picker import PickScreen

        recent = recents.read(self.dashboard.settings.home, "datasets")
        picker = PickScreen("dataset", "Evaluate on a dataset", recent)
        self.dashboard.push_screen(picker, lambda path: self._evaluate(path) if path is not None else None)

    def action_cancel(self) -> None:
        self._engine.cancel()
        self.query_one(JobLine).progress("stopping after this batch …")

    def action_back(self) -> None:
        self.dashboard.pop_screen()
