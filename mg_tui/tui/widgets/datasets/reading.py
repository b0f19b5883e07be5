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
from mg_tui.tui.widgets.datasets.opened import Opened, Reading
from mg_tui.tui.widgets.datasets.views import RowDetail, RowView, detail_of, view_of

if TYPE_CHECKING:
    from mg_tui.tui.widgets.models.talk import Asked

NEAR: Final = 64  # rows apart that are still read in one go
POSTED_EVERY: Final = 0.25  # seconds


class FromReader(Message):
    """Something a thread of `reader` says."""

    def __init__(self, reader: "Reader") -> None:
        super().__init__()
        self.reader = reader


class DatasetOpened(FromReader):
    """It is open; `opened` may be asked for what it is, and not for rows."""

    def __init__(self, reader: "Reader", opened: Opened) -> None:
        super().__init__(reader)
        self.opened = opened


class RowsRead(FromReader):
    """Rows in the order of their numbers, `blank` ones included; `last`: the highest number that is known to be."""

    def __init__(self, reader: "Reader", rows: Sequence[RowView], last: int) -> None:
        super().__init__(reader)
        self.rows, self.last = rows, last


class DetailRead(FromReader):
    """One row in full."""

    def __init__(self, reader: "Reader", detail: RowDetail) -> None:
        super().__init__(reader)
        self.detail = detail


class Indexed(FromReader):
    """The share of the dataset that is indexed, and the number of its last row once that is known."""

    def __init__(self, reader: "Reader", share: float, count: int | None) -> None:
        super().__init__(reader)
        self.share, self.count = share, count


class TextFound(FromReader):
    """Numbers of rows that have the text, those posted before left out; `over` when there are no more."""

    def __init__(self, reader: "Reader", text: str, numbers: "array[int]", over: bool) -> None:
        super().__init__(reader)
        self.text, self.numbers, self.over = text, numbers, over


class ReadingFailed(FromReader):
    """Something could not be read; `fatal` when the dataset is not open at all."""

    def __init__(self, reader: "Reader", error: GardenError, *, fatal: bool) -> None:
        super().__init__(reader)
        self.error, self.fatal = error, fatal


class Reader(threading.Thread):
    """Opens a dataset and reads what is wished for."""

    def __init__(self, target: MessagePump, reading: Reading, *, cwd: Path, cache: Path) -> None:
        super().__init__(daemon=True, name="dataset")
        self._target, self._reading, self._cwd, self._cache = target, reading, cwd, cache
        self._wishes: dict[str, Any] = {}
        self._wake = threading.Condition()
        self._ended = False
        self._search = 0
        self.opened: Opened | None = None

    # --- wishes, from the screen

    def want_rows(self, numbers: Sequence[int]) -> None:
        """Read these rows next."""
        self._wish("rows", list(numbers))

    def want_detail(self, number: int) -> None:
        """Read one row in full."""
        self._wish("detail", number)

    def find(self, text: str) -> None:
        """Look for a text in every row; what was looked for before is let go."""
        self._search += 1
        if text and self.opened is not None:
            self._go(self._find, self.opened, text, self._search)

    def end(self) -> None:
        """Let every thread finish by itself."""
        with self._wake:
            self._ended = True
            self._search += 1
            self._wake.notify_all()

    def _wish(self, kind: str, what: object) -> None:
        with self._wake:
            self._wishes[kind] = what
            self._wake.notify_all()

    def _go(self, work: Callable[..., None], *args: object) -> None:
        threading.Thread(target=self._guarded, args=(work, *args), daemon=True, name="dataset").start()

    # --- in the threads

    def run(self) -> None:
        try:
            self.opened = opened = Opened(self._reading, cwd=self._cwd, cache=self._cache)
        except Exception as error:  # whatever a file or a library does, it is said
            self._fail(error, fatal=True)
            return
        self._post(DatasetOpened(self, opened))
        self._go(self._index, opened)
        while (wish := self._next()) is not None:
            kind, what = wish
            self._guarded(self._rows if kind == "rows" else self._detail, opened, what)

    def _next(self) -> tuple[str, Any] | None:
        with self._wake:
            while not self._wishes and not self._ended:
                self._wake.wait()
            if self._ended:
                return None
            kind = "rows" if "rows" in self._wishes else next(iter(self._wishes))
            return kind, self._wishes.pop(kind)

    def _guarded(self, work: Callable[..., None], *args: object) -> None:
        try:
            work(*args)
        except Exception as error:  # as above
            self._fail(error, fatal=False)

    def _rows(self, opened: Opened, numbers: list[int]) -> None:
        found: dict[int, RowView] = {}
        highest = 0
        for first, last in runs_of(numbers):
            rows = opened.browser.window(first, last - first + 1)
            highest = max(highest, rows[-1].number if rows else 0)
            found.update((row.number, view_of(row, opened)) for row in rows if row.number <= last)
        shown = [found.get(number) or RowView(number, blank=True) for number in numbers]
        self._post(RowsRead(self, shown, highest))

    def _detail(self, opened: Opened, number: int) -> None:
        rows = opened.browser.window(number, 1)
        if rows and rows[0].number == number:
            detail = detail_of(rows[0], opened)
        else:
            detail = RowDetail(number, problems=("the line is blank or not there",))
        self._post(DetailRead(self, detail))

    def _index(self, opened: Opened) -> None:
        browser, posted = opened.browser, 0.0

        def progress(share: float) -> None:
            nonlocal posted
            if time.monotonic() - posted >= POSTED_EVERY:
                posted = time.monotonic()
                self._post(Indexed(self, share, None))

        browser.build_index(progress, lambda: self._ended)
        self._post(Indexed(self, browser.indexed, browser.count))

    def _find(self, opened: Opened, text: str, search: int) -> None:
        def stop() -> bool:
            return self._ended or search != self._search

        waiting, posted = array("Q"), time.monotonic()
        for number in opened.browser.find(text, 1, stop):
            waiting.append(number)
            if time.monotonic() - posted >= POSTED_EVERY:
                self._post(TextFound(self, text, waiting, over=False))
                waiting, posted = array("Q"), time.monotonic()
        if not stop():
            self._post(TextFound(self, text, waiting, over=True))

    def _fail(self, error: Exception, *, fatal: bool) -> None:
        if not isinstance(error, GardenError):
            why = one_line(f"{type(error).__name__}: {error}", limit=400)
            error = DataError("the dataset cannot be read", where=one_line(self._reading.given, limit=200), why=why)
        self._post(ReadingFailed(self, error, fatal=fatal))

    def _post(self, message: Message) -> None:
        if self._ended:
            return
        try:
            self._target.post_message(message)
        except RuntimeError:  # the event loop has closed under it
            self._ended = True


def runs_of(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers as runs of (first, last), joined where fewer than `NEAR` are between."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number - runs[-1][1] < NEAR:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def one_row(given: str, number: int, *, cwd: Path, cache: Path) -> "Asked":
    """A row as a question for a model, its answer expected.

    Raises:
        DataError: the dataset cannot be read, has no such row, or the row makes no conversation.
        EnvironmentProblem: as opening the dataset.
    """
    from mg_tui.tui.widgets.models.talk import Asked

    opened = Opened(Reading(given), cwd=cwd, cache=cache)
    detail = detail_of(opened.browser.row(number), opened)
    if not detail.question:
        why = detail.problems[0] if detail.problems else None
        raise DataError(f"row {number:,} asks nothing", where=one_line(given, limit=200), why=why)
    pictures = tuple(shown.path for shown in detail.pictures if shown.path is not None)
    return Asked(detail.question, pictures, detail.answer, f"row {number:,}")
