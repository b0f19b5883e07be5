"""Threads that read the list of runs and single runs: their journals and logs."""

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from textual.message import Message
from textual.message_pump import MessagePump

from mg_tui.core.text import printable
from mg_tui.runs.elsewhere import want_log
from mg_tui.runs.state import RunState
from mg_tui.tui.feeds import Feed

if TYPE_CHECKING:
    from mg_tui.runs.annotations import AnnotationReader, Annotations
    from mg_tui.runs.folder import RunFolder
    from mg_tui.runs.store import RunStore
    from mg_tui.runs.watch import RunWatch
    from mg_tui.runs.worker_log import LogReader
    from mg_tui.tui.runs.snapshot import RunCurves, RunDetail, RunRow

MAX_LOG_LINES: Final = 2_000  # of scroll-back
_ANSI_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")


class RunsUpdated(Message):
    """The runs of the home folder, newest first."""

    def __init__(self, rows: "tuple[RunRow, ...]") -> None:
        super().__init__()
        self.rows = rows


class RunUpdated(Message):
    """One run, and the lines added to its log since the last message."""

    def __init__(self, detail: "RunDetail", log: tuple[str, ...]) -> None:
        super().__init__()
        self.detail = detail
        self.log = log


class RunsFeed(Feed):
    """The list of runs; posts only when a row changed."""

    subject = "the list of runs"

    def __init__(
        self, target: MessagePump, home: Path, seconds: float, prices: "Mapping[str, Any] | None" = None
    ) -> None:
        """`prices`: the settings' [cost] table."""
        super().__init__(target, seconds)
        self._home, self._prices = home, prices
        self._store: RunStore | None = None
        self._last_rows: tuple[RunRow, ...] | None = None

    def read(self) -> Message | None:
        from mg_tui.runs.store import RunStore
        from mg_tui.tui.runs.snapshot import build_row

        if self._store is None:
            self._store = RunStore(self._home)
        now = time.time()
        rows = with_queue_positions(
            build_row(
                run.folder,
                run.view,
                run.state,
                run.spec,
                now=now,
                problem=run.problem,
                silent_seconds=run.silent_seconds,
                annotations=run.annotations,
                prices=self._prices,
            )
            for run in self._store.refresh()
        )
        if rows == self._last_rows:
            return None
        self._last_rows = rows
        return RunsUpdated(rows)


def with_queue_positions(rows: "Iterable[RunRow]") -> "tuple[RunRow, ...]":
    """The rows; queued ones have their position in the queue."""
    rows = tuple(rows)
    if not any(row.state is RunState.QUEUED for row in rows):
        return rows
    from mg_tui.runs.queue import read_queue_record

    records = {row.id: read_queue_record(row.folder) for row in rows if row.state is RunState.QUEUED}
    ids = sorted(records, key=lambda id: (records[id].place, id))
    positions = {id: (number, records[id].held) for number, id in enumerate(ids, start=1)}
    return tuple(replace(row, queue_position=positions.get(row.id)) for row in rows)


class RunFeed(Feed):
    """One run's journal and log; posts while the run lives and whenever something was written."""

    def __init__(
        self,
        target: MessagePump,
        folder: "RunFolder",
        seconds: float,
        *,
        log: bool = True,
        prices: "Mapping[str, object] | None" = None,
    ) -> None:
        """`log`: read the log too. `prices`: the settings' [cost] table."""
        super().__init__(target, seconds)
        self._folder = folder
        self._prices = prices
        self._reads_log = log
        self._watch: RunWatch | None = None
        self._log: LogReader | None = None
        self._curves: tuple[int, RunCurves] | None = None
        self._annotations: AnnotationReader | None = None
        self._spec_values: Mapping[str, object] = {}
        self._spec_digest: str | None = None
        self._last_state: tuple[int, str, Annotations] | None = None

    def read(self) -> Message | None:
        from mg_tui.runs.annotations import AnnotationReader
        from mg_tui.runs.store import describe_damage
        from mg_tui.runs.watch import RunWatch
        from mg_tui.tui.runs.snapshot import build_curves, build_detail, build_row

        watch = self._watch = self._watch or RunWatch(self._folder, all_fields=True)
        reader = self._annotations = self._annotations or AnnotationReader(self._folder)
        watch.refresh()
        lines = self._read_log()
        view, state = watch.view, watch.state
        annotations = reader.read()
        current = (view.last_number, state.value, annotations)
        if current == self._last_state and not lines and state.ended:
            return None
        self._last_state = current
        if self._curves is None or self._curves[0] != view.last_number:
            self._curves = (view.last_number, build_curves(view))
        now, spec = time.time(), self._spec(view.spec_digest)
        row = build_row(
            self._folder,
            view,
            state,
            spec,
            now=now,
            problem=describe_damage(watch),
            annotations=annotations,
            silent_seconds=watch.silent_seconds,
        )
        return RunUpdated(build_detail(row, view, spec, self._curves[1], now=now, prices=self._prices), lines)

    def _spec(self, digest: str | None) -> "Mapping[str, object]":
        """The spec; read again only when the journal has another one (`digest`)."""
        from mg_tui.core.errors import GardenError

        if not self._spec_values or digest != self._spec_digest:
            try:
                self._spec_values, self._spec_digest = self._folder.spec_values(), digest
            except GardenError:
                return {}  # the list shows the problem; the journal can be shown without the spec
        return self._spec_values

    def _read_log(self) -> tuple[str, ...]:
        if not self._reads_log:
            return ()
        want_log(self._folder)
        if self._log is None:
            from mg_tui.runs.worker_log import LogReader

            self._log = LogReader(self._folder.log_file)
            return tuple(map(clean_log_line, self._log.last(MAX_LOG_LINES)))
        return tuple(map(clean_log_line, self._log.new()))[-MAX_LOG_LINES:]


def clean_log_line(line: str) -> str:
    """A line of a log as text: without colors, a redrawn progress bar in its last state, control characters visible."""
    last = next((part for part in reversed(_ANSI_ESCAPES.sub("", line).split("\r")) if part.strip()), "")
    return printable(last.expandtabs(8), limit=2_000)
