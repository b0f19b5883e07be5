"""What is known of an open dataset, kept by the screen that shows it: what threads post ends up here."""

from array import array
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from textual.content import Content

from mg_tui.core.text import one_line
from mg_tui.tui import recents
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.widgets.bars import TopBar
from mg_tui.tui.widgets.datasets.checker import CheckEnded, Checker, CheckProgress
from mg_tui.tui.widgets.datasets.found import FoundText, KindTable, Marks, Sizes, counts_of, finding_line, kinds_of
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

if TYPE_CHECKING:
    from mg_tui.data.findings import Report

AHEAD: Final = 200  # rows read beyond those that are known, while the number of rows is not


class DatasetState(GardenScreen[None]):
    """The dataset, its rows, what was found; `DatasetScreen` lays it out and has the keys."""

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self.reading = reading
        self.opened: Opened | None = None
        self.detail: RowDetail | None = None
        self.report: Report | None = None
        self.base_model = ""
        self._model_chosen = False
        self._head = HeadState()
        self._found: array[int] | None = None  # rows with the text that is looked for
        self._kind: str | None = None  # of finding, whose rows are shown
        self._checker: Checker | None = None
        self._marks: Marks | None = None

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
        self.query_one(KindTable).display = False
        table = self.query_one(RowTable)
        table.lazy.forget()
        table.only(None)
        table.mark_of = lambda _number: ""
        self._reader = Reader(self, self.reading, cwd=Path.cwd(), cache=self.garden.settings.cache)
        self._reader.start()
        self.set_timer(1.0, self._still_opening)

    def _still_opening(self) -> None:
        """A hub, or a large file of pictures, takes a while: then it is said that something happens."""
        if self.opened is None and not self._head.failed:
            self.query_one(JobLine).begin(f"opening {one_line(self.reading.given, limit=80)}")

    def _opened_or_not(self) -> None:
        if self._checker is None:
            self.query_one(JobLine).over()

    def _want(self, numbers: list[int]) -> None:
        table = self.query_one(RowTable)
        if self._head.total is None and self._found is None and numbers[-1] >= table.lazy.total:
            numbers = [*numbers, *range(numbers[-1] + 1, numbers[-1] + AHEAD)]
        self._reader.want_rows(numbers)

    def on_dataset_opened(self, message: DatasetOpened) -> None:
        if message.reader is not self._reader:
            return
        self.opened = message.opened
        self._opened_or_not()
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
        self.keys_changed()

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
                self._state(failed=True)
                self._opened_or_not()
                self.query_one(RowText).detail = RowDetail(0)

    def _state(self, **changes: Any) -> None:
        self._head = replace(self._head, **changes)
        self.query_one(DataHead).state = self._head

    # --- moving

    def _moved(self, *, force: bool = False) -> None:
        table = self.query_one(RowTable)
        if self.opened is None or not len(table.lazy):
            return
        if force or self.detail is None or self.detail.number != table.number:
            self._reader.want_detail(table.number)
        self.query_one(RowText).findings = self._findings_of(table.number)
        self.keys_changed()

    def _findings_of(self, number: int) -> Sequence[Content]:
        return [finding_line(item) for item in self.report.of_row(number)] if self.report is not None else ()

    # --- only some rows

    def _show_only(self, numbers: Sequence[int] | None, only: str = "", *, looking: bool = False) -> None:
        self.query_one(RowTable).only(numbers)
        self._state(only=only, shown=None if numbers is None else len(numbers), looking=looking)
        self.keys_changed()

    def on_text_found(self, message: TextFound) -> None:
        if message.reader is not self._reader or self._found is None:
            return
        self._found.extend(message.numbers)
        self._show_only(self._found, f"with “{one_line(message.text, limit=60)}”", looking=not message.over)

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
        self.query_one(FoundText).checking = self.query_one(Sizes).checking = False
        if message.error is not None:
            self.query_one(Said).error = message.error
        if message.report is not None:
            self._show_report(message.report, message.marks)
        self.keys_changed()

    def _show_report(self, report: "Report", marks: Marks) -> None:
        self.report, self._marks = report, marks
        table = self.query_one(RowTable)
        table.mark_of = marks.of
        table.refresh()
        self.query_one(FoundText).report = self.query_one(Sizes).report = report
        kinds = self.query_one(KindTable)
        kinds.show(kinds_of(report))
        kinds.display = bool(kinds.rows)
        self.query_one(DataTabs).counts = counts_of(report)
        self._moved()
        bad = report.rows - report.good
        said = f"{bad:,} of {report.rows:,} rows cannot be trained on" if bad else "every row can be trained on"
        self.notify(said, severity="error" if bad else "information", markup=False)


def _name(given: str) -> str:
    return one_line(given.rstrip("/").rpartition("/")[2] or given, limit=120)
