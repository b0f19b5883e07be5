"""The rows of one dataset: seen, found, checked, and shown as a model sees them."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import ContentSwitcher, Input

from mg_tui.core.text import one_line
from mg_tui.tui import recents
from mg_tui.tui.actions import bindings
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.datasets.checker import CheckEnded, Checker, CheckProgress
from mg_tui.tui.widgets.datasets.found import (
    FoundText,
    KindTable,
    Marks,
    Sizes,
    counts_of,
    finding_line,
    kinds_of,
)
from mg_tui.tui.widgets.datasets.head import DataHead, HeadState
from mg_tui.tui.widgets.datasets.opened import Opened, Reading
from mg_tui.tui.widgets.datasets.panes import DataTabs, RowText
from mg_tui.tui.widgets.datasets.reading import (
    DatasetOpened,
    DetailRead,
    Indexed,
    Reader,
    ReadingFailed,
    RowsRead,
    TextFound,
)
from mg_tui.tui.widgets.datasets.rows import RowTable
from mg_tui.tui.widgets.datasets.tokens import TokenPane
from mg_tui.tui.widgets.datasets.views import RowDetail
from mg_tui.tui.widgets.models.jobs import JobLine
from mg_tui.tui.widgets.picturebox import PictureBox
from mg_tui.tui.widgets.said import Said
from mg_tui.tui.widgets.table import Table

if TYPE_CHECKING:
    from mg_tui.data.findings import Report

AHEAD = 200  # rows read beyond those that are known, while the number of rows is not


class DatasetScreen(GardenScreen[None]):
    """One dataset. Everything is read by threads; this owns what they found."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("dataset")]
    AUTO_FOCUS = "RowTable"

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self.reading = reading
        self.opened: Opened | None = None
        self.detail: RowDetail | None = None
        self.report: Report | None = None
        self.base_model = ""
        self._head = HeadState()
        self._found: array[int] | None = None  # rows with the text that is looked for
        self._kind: str | None = None  # of finding, whose rows are shown
        self._checker: Checker | None = None
        self._marks: Marks | None = None

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

    def on_mount(self) -> None:
        settings = self.garden.settings
        default = settings.train.get("base_model")
        self.base_model = str(default) if default else "tiny"
        self.query_one(TopBar).crumb = _name(self.reading.given)
        self._open()

    def on_unmount(self) -> None:
        self._reader.end()
        if self._checker is not None:
            self._checker.end()

    # --- reading

    def _open(self) -> None:
        self.opened = self.detail = self.report = None
        self._found = self._kind = self._marks = None
        self._head = HeadState()
        self.query_one(DataHead).state = self._head
        table = self.query_one(RowTable)
        table.lazy.forget()
        table.only(None)
        table.mark_of = lambda _number: ""
        self._reader = Reader(self, self.reading, cwd=Path.cwd(), cache=self.garden.settings.cache)
        self._reader.start()

    def _want(self, numbers: list[int]) -> None:
        table = self.query_one(RowTable)
        if self._head.total is None and self._found is None and numbers[-1] >= table.lazy.total:
            numbers = [*numbers, *range(numbers[-1] + 1, numbers[-1] + AHEAD)]
        self._reader.want_rows(numbers)

    def on_dataset_opened(self, message: DatasetOpened) -> None:
        if message.reader is not self._reader:
            return
        self.opened = message.opened
        first = message.opened.first
        known = first[-1].number if first else 0
        self._state(opened=message.opened, known=known)
        self.query_one(RowTable).sized(known)
        self.query_one(RowTable).focus()
        recents.remember(self.garden.settings.home, "datasets", self._given)
        self._moved(force=True)
        self._want(list(range(1, known + AHEAD)))

    @property
    def _given(self) -> str:
        path = self.opened.source.path if self.opened is not None else None
        return str(path.absolute()) if path is not None else self.reading.given

    def on_rows_read(self, message: RowsRead) -> None:
        if message.reader is not self._reader:
            return
        table = self.query_one(RowTable)
        if self._head.total is None and message.last > table.lazy.total:
            self._state(known=message.last)
            table.sized(message.last)
        table.came(message.rows)

    def on_detail_read(self, message: DetailRead) -> None:
        if message.reader is not self._reader or message.detail.number != self.query_one(RowTable).number:
            return
        self.detail = message.detail
        self.query_one(RowText).detail = message.detail
        self.query_one(PictureBox).show(message.detail.pictures, empty="no picture")
        self.query_one(TokenPane).show(message.detail, self.base_model)
        self.refresh_bindings()

    def on_indexed(self, message: Indexed) -> None:
        if message.reader is not self._reader:
            return
        self._state(share=message.share, total=message.count)
        if message.count is not None:
            self.query_one(RowTable).sized(message.count)

    def on_reading_failed(self, message: ReadingFailed) -> None:
        if message.reader is self._reader:
            self.query_one(Said).error = message.error
            if message.fatal:
                self.query_one(DataHead).state = self._head = HeadState()

    def _state(self, **changes: Any) -> None:
        self._head = replace(self._head, **changes)
        self.query_one(DataHead).state = self._head

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

    def _moved(self, *, force: bool = False) -> None:
        table = self.query_one(RowTable)
        if self.opened is None or not len(table.lazy):
            return
        if force or self.detail is None or self.detail.number != table.number:
            self._reader.want_detail(table.number)
        self.query_one(RowText).findings = self._findings_of(table.number)
        self.refresh_bindings()

    def _findings_of(self, number: int) -> Sequence[Content]:
        return [finding_line(item) for item in self.report.of_row(number)] if self.report is not None else ()

    # --- only some rows

    def _show_only(self, numbers: Sequence[int] | None, only: str = "", *, looking: bool = False) -> None:
        self.query_one(RowTable).only(numbers)
        self._state(only=only, shown=None if numbers is None else len(numbers), looking=looking)
        self.refresh_bindings()

    def on_text_found(self, message: TextFound) -> None:
        if message.reader is not self._reader or self._found is None:
            return
        self._found.extend(message.numbers)
        self._show_only(self._found, f"with “{one_line(message.text, limit=60)}”", looking=not message.over)

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        await self.query("#find").remove()
        self.query_one(RowTable).focus()
        if text:
            self._kind, self._found = None, array("Q")
            self._show_only(self._found, f"with “{one_line(text, limit=60)}”", looking=True)
            self._reader.find(text)

    def _all_rows(self) -> None:
        self._reader.find("")
        self._found = self._kind = None
        self._show_only(None)

    def _only_kind(self, kind: str | None) -> None:
        from mg_tui.data.findings import KINDS

        self._reader.find("")
        self._found, self._kind = None, kind
        if kind is None or self.report is None:
            self._show_only(None)
        else:
            rows = [number for number in self.report.rows_of.get(kind, ()) if number]
            self._show_only(rows, f"{KINDS[kind].severity}s: {KINDS[kind].title}")

    def _choose_kind(self) -> None:
        row = self.query_one(KindTable).current
        if row is not None:
            self._only_kind(row.kind)
            self.query_one(RowTable).focus()

    # --- the check

    def on_check_progress(self, message: CheckProgress) -> None:
        if message.checker is self._checker:
            self.query_one(JobLine).progress(message.said, message.share)

    def on_check_ended(self, message: CheckEnded) -> None:
        if message.checker is not self._checker:
            return
        self.query_one(Sizes).limit = message.checker.limit
        self._checker = None
        self.query_one(JobLine).over()
        self.query_one(FoundText).checking = False
        if message.error is not None:
            self.query_one(Said).error = message.error
        if message.report is not None:
            self._show_report(message.report, message.marks)
        self.refresh_bindings()

    def _show_report(self, report: "Report", marks: Marks) -> None:
        self.report, self._marks = report, marks
        table = self.query_one(RowTable)
        table.mark_of = marks.of
        table.refresh()
        self.query_one(FoundText).report = self.query_one(Sizes).report = report
        self.query_one(KindTable).show(kinds_of(report))
        self.query_one(DataTabs).counts = counts_of(report)
        self._moved()
        bad = report.rows - report.good
        said = f"{bad:,} of {report.rows:,} rows cannot be trained on" if bad else "every row can be trained on"
        self.notify(said, severity="error" if bad else "information", markup=False)

    # --- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "find" | "jump" | "check" | "reading":
                return self.opened is not None
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
            self.query_one(FoundText).checking = True
            self.query_one(Said).error = None

    def action_reading(self) -> None:
        from mg_tui.tui.screens.read_as import ReadAsScreen

        if self.opened is not None:
            self.garden.push_screen(ReadAsScreen(self.opened), self._read_as)

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
            self.base_model = given
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
            new_run({**self.opened.options(), "dataset": self._given})


def line_for(model: str) -> Content:
    """For which model something is shown, and the key that changes it."""
    return Content.assemble(("for ", tone("dim")), (one_line(model, limit=60), "bold"), ("  b changes", tone("faint")))


def _name(given: str) -> str:
    return one_line(given.rstrip("/").rpartition("/")[2] or given, limit=120)
