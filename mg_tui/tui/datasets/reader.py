"""The threads behind an open dataset: one reads rows, one builds the index, one searches for a text.

They post messages and share nothing with the screen. Only the newest request of a kind counts: scrolling fast through a
million rows waits for the page at which it stops, not for those it passed.
"""

import threading
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from textual.message import Message
from textual.message_pump import MessagePump

from mg_tui.core.errors import DataError, GardenError, describe_exception
from mg_tui.core.text import one_line
from mg_tui.tui.datasets.open_dataset import OpenDataset
from mg_tui.tui.datasets.row_builder import build_row_detail, build_row_view
from mg_tui.tui.datasets.row_view import RowDetail, RowView
from mg_tui.tui.posting import post

if TYPE_CHECKING:
    from mg_tui.tui.models.conversation import ChatQuestion

MAX_GAP: Final = 64  # rows between two requested ones that are read along with them
POST_INTERVAL: Final = 0.25  # seconds


class ReaderMessage(Message):
    """A message of one of the threads of `reader`."""

    def __init__(self, reader: "DatasetReader") -> None:
        super().__init__()
        self.reader = reader


class DatasetOpened(ReaderMessage):
    """The dataset is open; `dataset` describes it, and must not be asked for rows outside of the thread."""

    def __init__(self, reader: "DatasetReader", dataset: OpenDataset) -> None:
        super().__init__(reader)
        self.dataset = dataset


class RowsRead(ReaderMessage):
    """Rows in the order of their numbers, `blank` ones included; `last`: the highest number read so far."""

    def __init__(self, reader: "DatasetReader", rows: Sequence[RowView], last: int) -> None:
        super().__init__(reader)
        self.rows, self.last = rows, last


class RowDetailRead(ReaderMessage):
    """One row in full."""

    def __init__(self, reader: "DatasetReader", detail: RowDetail) -> None:
        super().__init__(reader)
        self.detail = detail


class IndexProgress(ReaderMessage):
    """The share of the dataset that is indexed, and the number of its last row once known."""

    def __init__(self, reader: "DatasetReader", share: float, row_count: int | None) -> None:
        super().__init__(reader)
        self.share, self.row_count = share, row_count


class SearchProgress(ReaderMessage):
    """Numbers of rows that contain the text, without those posted before; `finished` with the last of them."""

    def __init__(self, reader: "DatasetReader", text: str, numbers: "array[int]", finished: bool) -> None:
        super().__init__(reader)
        self.text, self.numbers, self.finished = text, numbers, finished


class DatasetReadFailed(ReaderMessage):
    """Reading failed; `fatal` when the dataset could not be opened."""

    def __init__(self, reader: "DatasetReader", error: GardenError, *, fatal: bool) -> None:
        super().__init__(reader)
        self.error, self.fatal = error, fatal


class DatasetReader(threading.Thread):
    """Opens a dataset and reads the rows that are requested."""

    def __init__(
        self, target: MessagePump, reference: str, options: Mapping[str, str], *, cwd: Path, cache: Path
    ) -> None:
        """`reference` and `options`: see `OpenDataset`."""
        super().__init__(daemon=True, name="dataset")
        self._target, self._reference, self._options = target, reference, options
        self._cwd, self._cache = cwd, cache
        self._requests: dict[str, Any] = {}
        self._wake = threading.Condition()
        self._stopped = False
        self._search_number = 0
        self.dataset: OpenDataset | None = None

    # --- requests, from the screen

    def request_rows(self, numbers: Sequence[int]) -> None:
        """Read these rows next."""
        self._add_request("rows", list(numbers))

    def request_detail(self, number: int) -> None:
        """Read one row in full."""
        self._add_request("detail", number)

    def search(self, text: str) -> None:
        """Search every row for a text; ends the search before. An empty text only ends it."""
        self._search_number += 1
        if text and self.dataset is not None:
            self._start_thread(self._search_rows, self.dataset, text, self._search_number)

    def stop(self) -> None:
        """Let every thread finish; does not wait for them."""
        with self._wake:
            self._stopped = True
            self._search_number += 1
            self._wake.notify_all()

    def _add_request(self, kind: str, rows: object) -> None:
        with self._wake:
            self._requests[kind] = rows
            self._wake.notify_all()

    def _start_thread(self, work: Callable[..., None], *args: object) -> None:
        threading.Thread(target=self._run_guarded, args=(work, *args), daemon=True, name="dataset").start()

    # --- in the threads

    def run(self) -> None:
        try:
            self.dataset = dataset = OpenDataset(self._reference, self._options, cwd=self._cwd, cache=self._cache)
        except Exception as error:  # whatever a file or a library raises
            self._post_failure(error, fatal=True)
            return
        self._post(DatasetOpened(self, dataset))
        self._start_thread(self._build_index, dataset)
        while (request := self._next_request()) is not None:
            kind, rows = request
            self._run_guarded(self._read_rows if kind == "rows" else self._read_detail, dataset, rows)

    def _next_request(self) -> tuple[str, Any] | None:
        with self._wake:
            while not self._requests and not self._stopped:
                self._wake.wait()
            if self._stopped:
                return None
            kind = "rows" if "rows" in self._requests else next(iter(self._requests))
            return kind, self._requests.pop(kind)

    def _run_guarded(self, work: Callable[..., None], *args: object) -> None:
        try:
            work(*args)
        except Exception as error:  # as above
            self._post_failure(error, fatal=False)

    def _read_rows(self, dataset: OpenDataset, numbers: list[int]) -> None:
        views: dict[int, RowView] = {}
        highest = 0
        for first, last in group_ranges(numbers):
            rows = dataset.browser.read_rows(first, last - first + 1)
            highest = max(highest, rows[-1].number if rows else 0)
            views.update((row.number, build_row_view(row, dataset)) for row in rows if row.number <= last)
        requested = [views.get(number) or RowView(number, blank=True) for number in numbers]
        self._post(RowsRead(self, requested, highest))

    def _read_detail(self, dataset: OpenDataset, number: int) -> None:
        rows = dataset.browser.read_rows(number, 1)
        if rows and rows[0].number == number:
            detail = build_row_detail(rows[0], dataset)
        else:
            detail = RowDetail(number, problems=("blank or missing line",))
        self._post(RowDetailRead(self, detail))

    def _build_index(self, dataset: OpenDataset) -> None:
        browser, posted = dataset.browser, 0.0

        def progress(share: float) -> None:
            nonlocal posted
            if time.monotonic() - posted >= POST_INTERVAL:
                posted = time.monotonic()
                self._post(IndexProgress(self, share, None))

        browser.build_index(progress, lambda: self._stopped)
        self._post(IndexProgress(self, browser.indexed_share, browser.last_row))

    def _search_rows(self, dataset: OpenDataset, text: str, search: int) -> None:
        def stop() -> bool:
            return self._stopped or search != self._search_number

        matches, posted = array("Q"), time.monotonic()
        for number in dataset.browser.find(text, 1, stop):
            matches.append(number)
            if time.monotonic() - posted >= POST_INTERVAL:
                self._post(SearchProgress(self, text, matches, finished=False))
                matches, posted = array("Q"), time.monotonic()
        if not stop():
            self._post(SearchProgress(self, text, matches, finished=True))

    def _post_failure(self, error: Exception, *, fatal: bool) -> None:
        if not isinstance(error, GardenError):
            where = one_line(self._reference, limit=200)
            error = DataError("the dataset cannot be read", where=where, why=describe_exception(error))
        self._post(DatasetReadFailed(self, error, fatal=fatal))

    def _post(self, message: Message) -> None:
        if not self._stopped and not post(self._target, message):
            self._stopped = True


def group_ranges(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers as runs of (first, last), joined where fewer than `MAX_GAP` are between."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number - runs[-1][1] < MAX_GAP:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def read_row_question(reference: str, number: int, *, cwd: Path, cache: Path) -> "ChatQuestion":
    """A row of a dataset as a question for a model, with the expected answer.

    Raises:
        DataError: the dataset cannot be read, has no such row, or the row has no conversation.
        EnvironmentProblem: as opening the dataset.
    """
    from mg_tui.tui.models.conversation import ChatQuestion

    dataset = OpenDataset(reference, {}, cwd=cwd, cache=cache)
    detail = build_row_detail(dataset.browser.read_row(number), dataset)
    if not detail.question:
        why = detail.problems[0] if detail.problems else None
        raise DataError(f"row {number:,} has no question", where=one_line(reference, limit=200), why=why)
    images = tuple(view.path for view in detail.images if view.path is not None)
    return ChatQuestion(detail.question, images, detail.answer, f"row {number:,}")
