"""The rows of one dataset: seen, found, checked, and shown as a model sees them."""

from array import array
from bisect import bisect_left, bisect_right
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import ContentSwitcher, Input

from mg_tui.core.text import one_line
from mg_tui.tui import recents
from mg_tui.tui.actions import bindings
from mg_tui.tui.screens.dataset_state import DatasetState
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.datasets.checker import Checker
from mg_tui.tui.widgets.datasets.found import (
    FoundText,
    KindTable,
    Sizes,
    kinds_of,
)
from mg_tui.tui.widgets.datasets.head import DataHead
from mg_tui.tui.widgets.datasets.opened import Reading
from mg_tui.tui.widgets.datasets.panes import DataTabs, RowText
from mg_tui.tui.widgets.datasets.rows import RowTable
from mg_tui.tui.widgets.datasets.tokens import TokenPane
from mg_tui.tui.widgets.models.jobs import JobLine
from mg_tui.tui.widgets.picturebox import PictureBox
from mg_tui.tui.widgets.said import Said
from mg_tui.tui.widgets.table import Table


class DatasetScreen(DatasetState):
    """One dataset. Everything is read by threads; keys and layout are here."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("dataset")]
    AUTO_FOCUS = "RowTable"

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield DataHead()
        yield Said()
        yield JobLine()
        yield RowTable(self._want)
        yield DataTabs()
        with ContentSwitcher(initial="row", id="panes"):
            with Horizontal(id="row"):
                yield PictureBox("no picture")
                with VerticalScroll(can_focus=False):
                    yield RowText()
            yield TokenPane(id="tokens")
            with Vertical(id="findings"):
                yield FoundText()
                yield KindTable()
            with VerticalScroll(id="sizes", can_focus=False):
                yield Sizes()
        yield KeyBar()

    # --- moving

    def on_table_moved(self, message: Table.Moved) -> None:
        self._moved()

    def on_table_chosen(self, message: Table.Chosen) -> None:
        message.stop()
        if isinstance(self.focused, KindTable):
            self._choose_kind()
        else:
            self.action_zoom()

    def on_key(self, event: Any) -> None:
        if event.key == "enter" and isinstance(self.focused, KindTable):
            event.stop()
            self._choose_kind()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        await self.query("#find").remove()
        self.query_one(RowTable).focus()
        if text:
            self._kind, self._found = None, array("Q")
            self._show_only(self._found, f"with “{one_line(text, limit=60)}”", looking=True)
            self._reader.find(text)

    def _choose_kind(self) -> None:
        row = self.query_one(KindTable).current
        if row is not None:
            self._only_kind(row.kind)
            self.query_one(RowTable).focus()

    # --- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "find" | "jump" | "check":
                return self.opened is not None
            case "reading":
                return self.opened is not None or self._head.failed
            case "new":
                return self.opened is not None and hasattr(self.garden, "new_run")
            case "next" | "previous":
                return self._marks is not None and bool(self._marks.rows)
            case "kinds":
                return self.report is not None and bool(self.report.counts)
            case "picture":
                return self.detail is not None and len(self.detail.pictures) > 1
            case "chat":
                return self.detail is not None and bool(self.detail.question)
        return True

    def action_back(self) -> None:
        if self.query("#find"):
            self.query("#find").remove()
            self.query_one(RowTable).focus()
        elif self.has_class("-zoomed"):
            self.action_zoom()
        elif isinstance(self.focused, KindTable):
            self.query_one(RowTable).focus()
        elif self._head.only:
            self._all_rows()
        else:
            self.garden.pop_screen()

    def _pane(self, name: str) -> None:
        self.query_one("#panes", ContentSwitcher).current = name
        tabs = self.query_one(DataTabs)
        tabs.pane = name
        for_model = line_for(self.base_model) if name in ("tokens", "findings", "sizes") else Content()
        tabs.right = for_model
        if name == "findings" and self.report is not None and self.report.counts:
            self.query_one(KindTable).focus()
        else:
            self.query_one(RowTable).focus()
        tokens = self.query_one(TokenPane)
        tokens.in_sight = name == "tokens"
        tokens.show(self.detail, self.base_model)

    def action_row(self) -> None:
        self._pane("row")

    def action_tokens(self) -> None:
        self._pane("tokens")

    def action_findings(self) -> None:
        self._pane("findings")

    def action_sizes(self) -> None:
        self._pane("sizes")

    def action_zoom(self) -> None:
        self.toggle_class("-zoomed")

    def action_picture(self) -> None:
        self.query_one(PictureBox).step()

    async def action_find(self) -> None:
        if not self.query("#find"):
            box = Input(placeholder="text to find in the rows; enter looks for it", id="find", compact=True)
            await self.mount(box, before=self.query_one(Said))
        self.query_one("#find", Input).focus()

    def action_jump(self) -> None:
        from mg_tui.tui.screens.jump import JumpScreen

        self.garden.push_screen(JumpScreen(self._head.total), self._jump)

    def _jump(self, number: int | None) -> None:
        if number is None:
            return
        if self._head.only:
            self._all_rows()
        table = self.query_one(RowTable)
        if self._head.total is None and number > table.lazy.total:
            table.sized(number)  # whether it is there is found by reading on
        table.go_to(number)

    def action_next(self) -> None:
        self._go_to_finding(1)

    def action_previous(self) -> None:
        self._go_to_finding(-1)

    def _go_to_finding(self, by: int) -> None:
        rows = self._marks.rows if self._marks is not None else ()
        if not rows:
            return
        table = self.query_one(RowTable)
        at = bisect_right(rows, table.number) if by > 0 else bisect_left(rows, table.number) - 1
        if self._head.only:
            self._all_rows()
        if self.query_one(DataTabs).pane in ("findings", "sizes"):  # what was found is said beside the row
            self._pane("row")
        table.go_to(rows[at % len(rows)])

    def action_kinds(self) -> None:
        if self.report is not None:
            kinds: list[str | None] = [row.kind for row in kinds_of(self.report) if any(self.report.rows_of[row.kind])]
            following = [*kinds, None]
            at = following.index(self._kind) if self._kind in following else -1
            self._only_kind(following[(at + 1) % len(following)])

    def action_check(self) -> None:
        if self._checker is not None:
            self._checker.stop()
            self.query_one(JobLine).progress("stopping …")
        elif self.opened is not None:
            self._checker = Checker(self, self.opened, self.garden.settings, self.base_model)
            self._checker.start()
            self.query_one(JobLine).begin(f"checking for {self.base_model}")
            self.query_one(FoundText).checking = self.query_one(Sizes).checking = True
            self.query_one(Said).error = None

    def action_reading(self) -> None:
        from mg_tui.tui.screens.read_as import ReadAsScreen

        if self.opened is not None or self._head.failed:
            self.garden.push_screen(ReadAsScreen(self.reading, self.opened), self._read_as)

    def _read_as(self, reading: Reading | None) -> None:
        if reading is not None and reading != self.reading:
            self._reader.end()
            self.reading = reading
            self.query_one(Said).error = None
            self._open()

    def action_model(self) -> None:
        from mg_tui.tui.screens.pick import PickScreen

        recent = [(item.given, item.when) for item in recents.read(self.garden.settings.home, "models")]
        self.garden.push_screen(PickScreen("model", "Tokens and checks for which base model?", recent), self._for_model)

    def _for_model(self, given: str | None) -> None:
        if given is not None:
            self.base_model, self._model_chosen = given, True
            self._pane(self.query_one(DataTabs).pane)

    def action_chat(self) -> None:
        from mg_tui.tui.screens.ask import AskScreen
        from mg_tui.tui.widgets.models.talk import Asked

        if self.detail is not None and self.detail.question:
            pictures = tuple(shown.path for shown in self.detail.pictures if shown.path is not None)
            asked = Asked(self.detail.question, pictures, self.detail.answer, f"row {self.detail.number}")
            self.garden.push_screen(AskScreen(asked, self.garden.settings))

    def action_new(self) -> None:
        new_run = getattr(self.garden, "new_run", None)
        if new_run is not None and self.opened is not None:
            model = {"base_model": self.base_model} if self._model_chosen else {}
            new_run({**self.opened.options(), "dataset": self._given, **model})


def line_for(model: str) -> Content:
    """For which model something is shown, and the key that changes it."""
    return Content.assemble(("for ", tone("dim")), (one_line(model, limit=60), "bold"), ("  b changes", tone("faint")))
