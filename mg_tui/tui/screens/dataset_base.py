"""The state of the screen of a dataset: what its threads post ends up here."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from textual.content import Content
from textual.widgets import Input

from mg_tui.core.text import one_line
from mg_tui.runs import recents
from mg_tui.tui.datasets.checker import CheckEnded, CheckProgress, DatasetChecker
from mg_tui.tui.datasets.finding_rows import RowSeverities, list_finding_kinds, pane_counts
from mg_tui.tui.datasets.open_dataset import OpenDataset
from mg_tui.tui.datasets.reader import (
    DatasetOpened,
    DatasetReader,
    DatasetReadFailed,
    IndexProgress,
    RowDetailRead,
    RowsRead,
    SearchProgress,
)
from mg_tui.tui.datasets.row_view import RowDetail
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.widgets.bars import TopBar
from mg_tui.tui.widgets.datasets.findings import FindingKindTable, FindingsSummary, finding_line
from mg_tui.tui.widgets.datasets.head import DatasetHead, DatasetHeadState
from mg_tui.tui.widgets.datasets.histograms import SizeHistograms
from mg_tui.tui.widgets.datasets.panes import DatasetTabs, RowText
from mg_tui.tui.widgets.datasets.row_table import RowTable
from mg_tui.tui.widgets.datasets.tokens import TokenPane
from mg_tui.tui.widgets.error_band import ErrorBand
from mg_tui.tui.widgets.image_box import ImageBox
from mg_tui.tui.widgets.job_line import JobLine

if TYPE_CHECKING:
    from mg_tui.data.checks.findings import CheckReport

READ_AHEAD: Final = 200  # rows read beyond the known ones while the number of rows is unknown


class DatasetScreenBase(GardenScreen[None]):
    """The dataset, its rows and its check; `DatasetScreen` has the layout and the keys."""

    def __init__(self, reference: str, options: Mapping[str, str] | None = None) -> None:
        """`reference` and `options`: see `OpenDataset`."""
        super().__init__()
        self.reference = reference
        self.options: Mapping[str, str] = options or {}
        self.dataset: OpenDataset | None = None
        self.row_detail: RowDetail | None = None
        self.report: CheckReport | None = None
        self.base_model = ""
        self._model_is_chosen = False
        self._head_state = DatasetHeadState()
        self._matching_rows: array[int] | None = None  # rows with the searched text
        self._finding_kind: str | None = None  # the kind of finding whose rows are shown
        self._checker: DatasetChecker | None = None
        self._row_severities: RowSeverities | None = None

    def on_mount(self) -> None:
        settings = self.dashboard.settings
        default = settings.train.get("base_model")
        self.base_model = str(default) if default else "tiny"
        self.query_one(TopBar).breadcrumb = _short_name(self.reference)
        self._open()

    def on_unmount(self) -> None:
        self._reader.stop()
        if self._checker is not None:
            self._checker.abandon()

    # --- reading

    def _open(self) -> None:
        self.dataset = self.row_detail = self.report = None
        self._matching_rows = self._finding_kind = self._row_severities = None
        self._head_state = DatasetHeadState()
        self.query_one(DatasetHead).state = self._head_state
        self.query_one(FindingKindTable).display = False
        table = self.query_one(RowTable)
        table.lazy_rows.clear_cache()
        table.show_only(None)
        table.severity_of = lambda _number: ""
        cache = self.dashboard.settings.cache
        self._reader = DatasetReader(self, self.reference, self.options, cwd=Path.cwd(), cache=cache)
        self._reader.start()
        self.set_timer(1.0, self._show_opening)

    def _show_opening(self) -> None:
        """A hub, or a large file of images, takes a while: then show that it is being opened."""
        if self.dataset is None and not self._head_state.failed:
            self.query_one(JobLine).start(f"opening {one_line(self.reference, limit=80)}")

    def _hide_opening(self) -> None:
        if self._checker is None:
            self.query_one(JobLine).finish()

    def _request_rows(self, numbers: list[int]) -> None:
        table = self.query_one(RowTable)
        if self._head_state.row_count is None and self._matching_rows is None and numbers[-1] >= table.lazy_rows.total:
            numbers = [*numbers, *range(numbers[-1] + 1, numbers[-1] + READ_AHEAD)]
        self._reader.request_rows(numbers)

    def on_dataset_opened(self, message: DatasetOpened) -> None:
        if message.reader is not self._reader:
            return
        self.dataset = message.dataset
        self._hide_opening()
        first = message.dataset.first_rows
        known = first[-1].number if first else 0
        self._update_head(dataset=message.dataset, known_rows=known)
        self.query_one(RowTable).set_count(known)
        if not isinstance(self.focused, Input):
            self.set_focus(self.query_one(RowTable))
        recents.remember(self.dashboard.settings.home, "datasets", self._dataset_name)
        self._cursor_moved(force=True)
        self._request_rows(list(range(1, known + READ_AHEAD)))

    @property
    def _dataset_name(self) -> str:
        path = self.dataset.source.path if self.dataset is not None else None
        return str(path.absolute()) if path is not None else self.reference

    def on_rows_read(self, message: RowsRead) -> None:
        if message.reader is not self._reader:
            return
        table = self.query_one(RowTable)
        if self._head_state.row_count is None and message.last > table.lazy_rows.total:
            self._update_head(known_rows=message.last)
            table.set_count(message.last)
        table.rows_loaded(message.rows)

    def on_row_detail_read(self, message: RowDetailRead) -> None:
        if message.reader is not self._reader or message.detail.number != self.query_one(RowTable).current_number:
            return
        self.row_detail = message.detail
        self.query_one(RowText).detail = message.detail
        self.query_one(ImageBox).show(message.detail.images, empty="no image")
        self.query_one(TokenPane).show(message.detail, self.base_model)
        self.refresh_keys()

    def on_index_progress(self, message: IndexProgress) -> None:
        if message.reader is not self._reader:
            return
        self._update_head(index_share=message.share, row_count=message.row_count)
        if message.row_count is not None:
            self.query_one(RowTable).set_count(message.row_count)

    def on_dataset_read_failed(self, message: DatasetReadFailed) -> None:
        if message.reader is self._reader:
            self.query_one(ErrorBand).error = message.error
            if message.fatal:
                self._update_head(failed=True)
                self._hide_opening()
                self.query_one(RowText).detail = RowDetail(0)

    def _update_head(self, **changes: Any) -> None:
        self._head_state = replace(self._head_state, **changes)
        self.query_one(DatasetHead).state = self._head_state

    # --- moving

    def _cursor_moved(self, *, force: bool = False) -> None:
        table = self.query_one(RowTable)
        if self.dataset is None or not len(table.lazy_rows):
            return
        if force or self.row_detail is None or self.row_detail.number != table.current_number:
            self._reader.request_detail(table.current_number)
        self.query_one(RowText).findings = self._findings_of(table.current_number)
        self.refresh_keys()

    def _findings_of(self, number: int) -> Sequence[Content]:
        return [finding_line(item) for item in self.report.findings_of_row(number)] if self.report is not None else ()

    # --- only some rows

    def _show_only(self, numbers: Sequence[int] | None, filter_text: str = "", *, searching: bool = False) -> None:
        self.query_one(RowTable).show_only(numbers)
        shown_rows = None if numbers is None else len(numbers)
        self._update_head(filter_text=filter_text, shown_rows=shown_rows, searching=searching)
        self.refresh_keys()

    def on_search_progress(self, message: SearchProgress) -> None:
        if message.reader is not self._reader or self._matching_rows is None:
            return
        self._matching_rows.extend(message.numbers)
        self._show_only(
            self._matching_rows, f"with “{one_line(message.text, limit=60)}”", searching=not message.finished
        )

    def _all_rows(self) -> None:
        self._reader.search("")
        self._matching_rows = self._finding_kind = None
        self._show_only(None)

    def _only_kind(self, kind: str | None) -> None:
        from mg_tui.data.checks.findings import KINDS

        self._reader.search("")
        self._matching_rows, self._finding_kind = None, kind
        if kind is None or self.report is None:
            self._show_only(None)
        else:
            rows = [number for number in self.report.rows_by_kind.get(kind, ()) if number]
            self._show_only(rows, f"{KINDS[kind].severity}s: {KINDS[kind].title}")

    # --- the check

    def on_check_progress(self, message: CheckProgress) -> None:
        if message.checker is self._checker:
            self.query_one(JobLine).progress(message.status_text, message.share)

    def on_check_ended(self, message: CheckEnded) -> None:
        if message.checker is not self._checker:
            return
        self.query_one(SizeHistograms).max_tokens = message.checker.max_tokens
        self._checker = None
        self.set_footer_labels({})
        self.query_one(JobLine).finish()
        self.query_one(FindingsSummary).checking = self.query_one(SizeHistograms).checking = False
        if message.error is not None:
            self.query_one(ErrorBand).error = message.error
        if message.report is not None:
            self._show_report(message.report, message.severities)
        self.refresh_keys()

    def _show_report(self, report: "CheckReport", severities: RowSeverities) -> None:
        self.report, self._row_severities = report, severities
        table = self.query_one(RowTable)
        table.severity_of = severities.severity_of
        table.refresh()
        self.query_one(FindingsSummary).report = self.query_one(SizeHistograms).report = report
        kinds = self.query_one(FindingKindTable)
        kinds.show(list_finding_kinds(report))
        kinds.display = bool(kinds.rows)
        self.query_one(DatasetTabs).counts = pane_counts(report)
        self._cursor_moved()
        bad = report.rows - report.good_rows
        text = f"{bad:,} of {report.rows:,} rows cannot be trained on" if bad else "every row can be trained on"
        self.notify(text, severity="error" if bad else "information", markup=False)


def _short_name(reference: str) -> str:
    return one_line(reference.rstrip("/").rpartition("/")[2] or reference, limit=120)
