"""The threads behind an open dataset: one reads rows, one builds the index, one looks for a text.

They post messages and share nothing with the screen. Only the newest wish counts: who scrolls fast through a million
rows waits for the page they stopped at, not for those they passed.
"""

import threading
import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from textual.message import Message
from textual.message_pump import MessagePump

from mg_tui.core.errors import DataError, GardenError
from mg_tui.core.text import one_line
from mg_tui.tui.datasets.open_dataset import DatasetOptions, OpenDataset
from mg_tui.tui.datasets.row_view import RowDetail, RowView, build_row_detail, build_row_view

if TYPE_CHECKING:
    from mg_tui.tui.widgets.models.conversation import ChatQuestion

MAX_GAP: Final = 64  # rows apart that are still read in one go
POST_INTERVAL: Final = 0.25  # seconds


class ReaderMessage(Message):
    """Something a thread of `reader` says."""

    def __init__(self, reader: "DatasetReader") -> None:
        super().__init__()
        self.reader = reader


class DatasetOpened(ReaderMessage):
    """It is open; `opened` may be asked for what it is, and not for rows."""

    def __init__(self, reader: "DatasetReader", opened: OpenDataset) -> None:
        super().__init__(reader)
        self.dataset = opened


class RowsRead(ReaderMessage):
    """Rows in the order of their numbers, `blank` ones included; `last`: the highest number that is known to be."""

    def __init__(self, reader: "DatasetReader", rows: Sequence[RowView], last: int) -> None:
        super().__init__(reader)
        self.rows, self.last = rows, last


class RowDetailRead(ReaderMessage):
    """One row in full."""

    def __init__(self, reader: "DatasetReader", detail: RowDetail) -> None:
        super().__init__(reader)
        self.detail = detail


class IndexProgress(ReaderMessage):
    """The share of the dataset that is indexed, and the number of its last row once that is known."""

    def __init__(self, reader: "DatasetReader", share: float, count: int | None) -> None:
        super().__init__(reader)
        self.share, self.row_count = share, count


class SearchProgress(ReaderMessage):
    """Numbers of rows that have the text, those posted before left out; `over` when there are no more."""

    def __init__(self, reader: "DatasetReader", text: str, numbers: "array[int]", over: bool) -> None:
        super().__init__(reader)
        self.text, self.numbers, self.finished = text, numbers, over


class DatasetReadFailed(ReaderMessage):
    """Something could not be read; `fatal` when the dataset is not open at all."""

    def __init__(self, reader: "DatasetReader", error: GardenError, *, fatal: bool) -> None:
        super().__init__(reader)
        self.error, self.fatal = error, fatal


class DatasetReader(threading.Thread):
    """Opens a dataset and reads what is wished for."""

    def __init__(self, target: MessagePump, reading: DatasetOptions, *, cwd: Path, cache: Path) -> None:
        super().__init__(daemon=True, name="dataset")
        self._target, self._options, self._cwd, self._cache = target, reading, cwd, cache
        self._requests: dict[str, Any] = {}
        self._wake = threading.Condition()
        self._stopped = False
        self._search_number = 0
        self.dataset: OpenDataset | None = None

    # --- wishes, from the screen

    def request_rows(self, numbers: Sequence[int]) -> None:
        """Read these rows next."""
        self._add_request("rows", list(numbers))

    def request_detail(self, number: int) -> None:
        """Read one row in full."""
        self._add_request("detail", number)

    def search(self, text: str) -> None:
        """Look for a text in every row; what was looked for before is let go."""
        self._search_number += 1
        if text and self.dataset is not None:
            self._start_thread(self._search_rows, self.dataset, text, self._search_number)

    def stop(self) -> None:
        """Let every thread finish by itself."""
        with self._wake:
            self._stopped = True
            self._search_number += 1
            self._wake.notify_all()

    def _add_request(self, kind: str, what: object) -> None:
        with self._wake:
            self._requests[kind] = what
            self._wake.notify_all()

    def _start_thread(self, work: Callable[..., None], *args: object) -> None:
        threading.Thread(target=self._run_guarded, args=(work, *args), daemon=True, name="dataset").start()

    # --- in the threads

    def run(self) -> None:
        try:
            self.dataset = opened = OpenDataset(self._options, cwd=self._cwd, cache=self._cache)
        except Exception as error:  # whatever a file or a library does, it is said
            self._post_failure(error, fatal=True)
            return
        self._post(DatasetOpened(self, opened))
        self._start_thread(self._build_index, opened)
        while (wish := self._next_request()) is not None:
            kind, what = wish
            self._run_guarded(self._read_rows if kind == "rows" else self._read_detail, opened, what)

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

    def _read_rows(self, opened: OpenDataset, numbers: list[int]) -> None:
        found: dict[int, RowView] = {}
        highest = 0
        for first, last in group_ranges(numbers):
            rows = opened.browser.read_rows(first, last - first + 1)
            highest = max(highest, rows[-1].number if rows else 0)
            found.update((row.number, build_row_view(row, opened)) for row in rows if row.number <= last)
        shown = [found.get(number) or RowView(number, blank=True) for number in numbers]
        self._post(RowsRead(self, shown, highest))

    def _read_detail(self, opened: OpenDataset, number: int) -> None:
        rows = opened.browser.read_rows(number, 1)
        if rows and rows[0].number == number:
            detail = build_row_detail(rows[0], opened)
        else:
            detail = RowDetail(number, problems=("the line is blank or not there",))
        self._post(RowDetailRead(self, detail))

    def _build_index(self, opened: OpenDataset) -> None:
        browser, posted = opened.browser, 0.0

        def progress(share: float) -> None:
            nonlocal posted
            if time.monotonic() - posted >= POST_INTERVAL:
                posted = time.monotonic()
                self._post(IndexProgress(self, share, None))

        browser.build_index(progress, lambda: self._stopped)
        self._post(IndexProgress(self, browser.indexed_share, browser.last_row))

    def _search_rows(self, opened: OpenDataset, text: str, search: int) -> None:
        def stop() -> bool:
            return self._stopped or search != self._search_number

        waiting, posted = array("Q"), time.monotonic()
        for number in opened.browser.find(text, 1, stop):
            waiting.append(number)
            if time.monotonic() - posted >= POST_INTERVAL:
                self._post(SearchProgress(self, text, waiting, over=False))
                waiting, posted = array("Q"), time.monotonic()
        if not stop():
            self._post(SearchProgress(self, text, waiting, over=True))

    def _post_failure(self, error: Exception, *, fatal: bool) -> None:
        if not isinstance(error, GardenError):
            why = one_line(f"{type(error).__name__}: {error}", limit=400)
            error = DataError("the dataset cannot be read", where=one_line(self._options.reference, limit=200), why=why)
        self._post(DatasetReadFailed(self, error, fatal=fatal))

    def _post(self, message: Message) -> None:
        if self._stopped:
            return
        try:
            self._target.post_message(message)
        except RuntimeError:  # the event loop has closed under it
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


def read_row_question(given: str, number: int, *, cwd: Path, cache: Path) -> "ChatQuestion":
    """A row as a question for a model, its answer expected.

    Raises:
        DataError: the dataset cannot be read, has no such row, or the row makes no conversation.
        EnvironmentProblem: as opening the dataset.
    """
    from mg_tui.tui.widgets.models.conversation import ChatQuestion

    opened = OpenDataset(DatasetOptions(given), cwd=cwd, cache=cache)
    detail = build_row_detail(opened.browser.read_row(number), opened)
    if not detail.question:
        why = detail.problems[0] if detail.problems else None
        raise DataError(f"row {number:,} asks nothing", where=one_line(given, limit=200), why=why)
    images = tuple(shown.path for shown in detail.images if shown.path is not None)
    return ChatQuestion(detail.question, images, detail.answer, f"row {number:,}")
