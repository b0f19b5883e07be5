"""What a result and its base model answer to rows it was not trained on, side by side, as the answers come."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from mg_tui.core.text import one_line
from mg_tui.tui import recents, scores, words
from mg_tui.tui.actions import bindings
from mg_tui.tui.children import Child, ChildFailed, ChildSaid
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.models.examined import ONLY, Examined, ExaminedTable, ExaminedText, ExamineHead
from mg_tui.tui.widgets.models.found import ModelRow
from mg_tui.tui.widgets.models.jobs import JobLine
from mg_tui.tui.widgets.picturebox import PictureBox, Shown
from mg_tui.tui.widgets.said import Said
from mg_tui.tui.widgets.table import Table

EXAMINER = "mg_tui.engine.answers.exam"
MOST_ROWS = 200  # answered without being asked for more
AT_ONCE = 8  # rows in a batch: the first answers come soon, and cancelling takes a batch
LONGEST = 128  # tokens of an answer
FEWEST = 4  # rows whose answers make a score


class ExamScreen(GardenScreen[None]):
    """Loads the model, answers, shows."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("exam")]
    AUTO_FOCUS = "ExaminedTable"

    def __init__(self, row: ModelRow) -> None:
        super().__init__()
        self.row = row
        self.rows: list[Examined] = []
        self._only = 0
        self._going_on = False

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield ExamineHead(self.row.title)
        yield Said()
        yield JobLine()
        yield ExaminedTable()
        yield Static(id="empty")
        with Horizontal(id="lower"):
            yield PictureBox("no picture")
            with VerticalScroll(can_focus=False):
                yield ExaminedText()
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(TopBar).crumb = f"{self.row.title} › before and after"
        self._child = Child(self, EXAMINER)
        self._child.ask("load", model=self.row.given, home=str(self.garden.settings.home))
        self._examine(None)

    def on_unmount(self) -> None:
        self._child.end()

    def _examine(self, dataset: str | None) -> None:
        self.rows = []
        self._going_on = True
        self.query_one(Said).error = None
        self.query_one(JobLine).begin("answering")
        fields = {"dataset": dataset} if dataset is not None else {}
        self._child.ask(
            "exam",
            base_too=self.row.kind == "adapter",
            limit=MOST_ROWS,
            batch_size=AT_ONCE,
            max_new_tokens=LONGEST,
            cache=str(self.garden.settings.cache),
            **fields,
        )
        self._show()

    # --- what came

    def on_child_said(self, message: ChildSaid) -> None:
        event, head = message.event, self.query_one(ExamineHead)
        match event.get("event"):
            case "ready":
                head.state = one_line(f"{event.get('device')} {event.get('dtype')}")
            case "notice":
                head.where = str(event.get("text", ""))
            case "progress":
                self.rows += [Examined.of(item) for item in event.get("rows", ())]
                done, total = int(event["done"]), int(event["total"])
                self.query_one(JobLine).progress(f"{done}/{total} rows", done / total if total else None)
                self._show()
            case "exam":
                self._over()
                self._keep_score()
                if event.get("ended") == "cancelled":
                    self.notify(f"stopped after {words.count(len(self.rows), 'row')}", markup=False)

    def _keep_score(self) -> None:
        """For the list of models; a few rows of an examination called off say little."""
        if self.row.is_result and len(self.rows) >= FEWEST:
            exact = sum(item.right for item in self.rows)
            scores.remember(self.garden.settings.home, self.row.given, exact=exact, rows=len(self.rows))

    def on_child_failed(self, message: ChildFailed) -> None:
        if self.query_one(Said).error is None:  # what follows from the first error says nothing new
            self.query_one(Said).error = message.error
        if message.op == "load":
            self.query_one(ExamineHead).state = ""
        if message.op == "exam":
            self._over()

    def _over(self) -> None:
        self._going_on = False
        self.query_one(JobLine).over()
        self._show()
        self.keys_changed()

    def _show(self) -> None:
        wanted = ONLY[self._only][1]
        shown = [item for item in self.rows if item.verdict in wanted]
        table, empty = self.query_one(ExaminedTable), self.query_one("#empty", Static)
        table.show(shown)
        table.display = bool(shown)
        empty.display = not shown
        self.query_one("#lower").display = bool(shown)
        head = self.query_one(ExamineHead)
        head.rows, head.only = tuple(self.rows), self._only
        head.redraw()
        if not shown:
            empty.update(Content.styled(self._instead(), tone("dim")))
        elif self.focused is None:
            table.focus()
        self.keys_changed()

    def _instead(self) -> str:
        if self.rows:
            return f"No row: {ONLY[self._only][0]} is shown; f shows others."
        if self._going_on:
            return "The model is loaded, then it answers rows that were held out; its base model answers them too."
        return "No row was answered. a answers the rows of another dataset."

    def on_table_moved(self) -> None:
        item = self.query_one(ExaminedTable).current
        self.query_one(ExaminedText).item = item
        self.query_one(PictureBox).show([Shown(path, path.name) for path in item.pictures] if item else [])

    def on_table_chosen(self, message: Table.Chosen) -> None:
        message.stop()
        self.action_chat()

    # --- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "only":
                return bool(self.rows)
            case "cancel":
                return self._going_on
            case "again":
                return not self._going_on
            case "chat":
                return bool(self.is_mounted and self.query(ExaminedTable) and self.query_one(ExaminedTable).current)
        return True

    def action_only(self) -> None:
        self._only = (self._only + 1) % len(ONLY)
        self._show()

    def action_chat(self) -> None:
        from mg_tui.tui.screens.chat import ChatScreen

        item = self.query_one(ExaminedTable).current
        if item is not None:
            self.garden.push_screen(ChatScreen(self.row, item.asked))

    def action_again(self) -> None:
        from mg_tui.tui.screens.pick import PickScreen

        recent = [(item.given, item.when) for item in recents.read(self.garden.settings.home, "datasets")]
        picker = PickScreen("dataset", "Answer the rows of a dataset", recent)
        self.garden.push_screen(picker, lambda given: self._examine(given) if given is not None else None)

    def action_cancel(self) -> None:
        self._child.cancel()
        self.query_one(JobLine).progress("stopping after this batch …")

    def action_back(self) -> None:
        self.garden.pop_screen()
