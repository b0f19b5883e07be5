"""Threads that read and post: journals, logs and devices never make the interface wait.

Each feed is a daemon thread with a period. It reads, and posts a message when what it read is worth drawing; the
message's handler owns the screen's state. A slow disk or a driver that hangs holds up its own feed and nothing else,
not even quitting. What goes wrong is posted once, not once a period.
"""

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from textual.message import Message
from textual.message_pump import MessagePump

from mg_tui.core.text import printable
from mg_tui.runs.state import RunState

if TYPE_CHECKING:
    from mg_tui.hardware.sampler import DeviceSampler
    from mg_tui.hardware.types import DeviceSnapshot
    from mg_tui.runs.folder import RunFolder
    from mg_tui.runs.store import RunStore
    from mg_tui.runs.watch import RunWatch
    from mg_tui.runs.worker_log import LogReader
    from mg_tui.tui.runs.snapshot import RunCurves, RunDetail, RunRow

MAX_LOG_LINES: Final = 2_000  # lines of a log that are kept to scroll back in
_ANSI_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")


class RunsUpdated(Message):
    """The runs of the home folder, newest first."""

    def __init__(self, rows: "tuple[RunRow, ...]") -> None:
        super().__init__()
        self.rows = rows


class RunUpdated(Message):
    """One run as it is now, and what was added to its log since the last message."""

    def __init__(self, detail: "RunDetail", log: tuple[str, ...]) -> None:
        super().__init__()
        self.detail = detail
        self.log = log


class DevicesUpdated(Message):
    """What the machine is doing."""

    def __init__(self, snapshot: "DeviceSnapshot") -> None:
        super().__init__()
        self.snapshot = snapshot


class FeedFailed(Message):
    """A feed cannot read; it goes on trying. An empty `why` says that it can again."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__()
        self.subject = what
        self.why = why


class Feed(threading.Thread):
    """Reads every `seconds`; `pause` and `resume` follow what is on the screen."""

    subject = "the run"

    def __init__(self, target: MessagePump, seconds: float) -> None:
        super().__init__(daemon=True, name=type(self).__name__)
        self._target = target
        self._period = seconds
        self._wake = threading.Event()
        self._stopped = False
        self._paused = False
        self._problem = ""

    def read(self) -> Message | None:
        """What is new, or None. Runs in the thread; owns everything it uses."""
        raise NotImplementedError

    def pause(self) -> None:
        """Stop reading until resumed."""
        self._paused = True

    def resume(self) -> None:
        """Read now and go on."""
        self._paused = False
        self._wake.set()

    def set_period(self, seconds: float) -> None:
        """Read every so many seconds from now on."""
        self._period = seconds
        self._wake.set()

    def stop(self) -> None:
        """Let the thread finish by itself; does not wait for it."""
        self._stopped = True
        self._wake.set()

    def run(self) -> None:
        while not self._stopped:
            if not self._paused:
                self._poll()
            self._wake.wait(None if self._paused else self._period)
            self._wake.clear()

    def _poll(self) -> None:
        try:
            message = self.read()
        except Exception as error:  # whatever it is, the dashboard stays and says it
            why = printable(f"{type(error).__name__}: {error}", limit=400)
            if why != self._problem:
                self._problem = why
                self._post(FeedFailed(self.subject, why))
            return
        if self._problem:
            self._problem = ""
            self._post(FeedFailed(self.subject, ""))
        if message is not None:
            self._post(message)

    def _post(self, message: Message) -> None:
        try:
            self._target.post_message(message)
        except RuntimeError:  # the event loop has closed under it
            self._stopped = True


class RunsFeed(Feed):
    """The list of runs; posts only when a row changed."""

    subject = "the list of runs"

    def __init__(self, target: MessagePump, home: Path, seconds: float) -> None:
        super().__init__(target, seconds)
        self._home = home
        self._store: RunStore | None = None
        self._last_rows: tuple[RunRow, ...] | None = None

    def read(self) -> Message | None:
        from mg_tui.runs.store import RunStore
        from mg_tui.tui.runs.snapshot import build_row

        if self._store is None:
            self._store = RunStore(self._home)
        now = time.time()
        rows = with_queue_positions(
            build_row(run.folder, run.view, run.state, run.spec, now=now, problem=run.problem)
            for run in self._store.refresh()
        )
        if rows == self._last_rows:
            return None
        self._last_rows = rows
        return RunsUpdated(rows)


def with_queue_positions(rows: "Iterable[RunRow]") -> "tuple[RunRow, ...]":
    """The rows, the queued ones with their places in the queue."""
    rows = tuple(rows)
    if not any(row.state is RunState.QUEUED for row in rows):
        return rows
    from mg_tui.runs.queue import read_queue_record

    asked = {row.id: read_queue_record(row.folder) for row in rows if row.state is RunState.QUEUED}
    order = {run: number for number, run in enumerate(sorted(asked, key=lambda run: (asked[run].place, run)), start=1)}
    return tuple(
        replace(row, queue_position=(order[row.id], asked[row.id].held)) if row.id in order else row for row in rows
    )


class RunFeed(Feed):
    """One run's journal and log; posts while it lives and whenever something was written."""

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
        self._last_state: tuple[int, str] | None = None

    def read(self) -> Message | None:
        from mg_tui.runs.store import describe_damage
        from mg_tui.runs.watch import RunWatch
        from mg_tui.tui.runs.snapshot import build_curves, build_detail, build_row

        watch = self._watch = self._watch or RunWatch(self._folder)
        watch.refresh()
        lines = self._read_log()
        view, state = watch.view, watch.state
        here = (view.last_number, state.value)
        if here == self._last_state and not lines and state.ended:
            return None
        self._last_state = here
        if self._curves is None or self._curves[0] != view.last_number:
            self._curves = (view.last_number, build_curves(view))
        now, spec = time.time(), self._spec()
        row = build_row(self._folder, view, state, spec, now=now, problem=describe_damage(watch))
        return RunUpdated(build_detail(row, view, spec, self._curves[1], now=now, prices=self._prices), lines)

    def _spec(self) -> dict[str, object]:
        from mg_tui.core.errors import GardenError

        try:
            return self._folder.spec_values()
        except GardenError:
            return {}  # the list says what is wrong with the folder; the journal can be shown without it

    def _read_log(self) -> tuple[str, ...]:
        if not self._reads_log:
            return ()
        if self._log is None:
            from mg_tui.runs.worker_log import LogReader

            self._log = LogReader(self._folder.log_file)
            return tuple(map(clean_log_line, self._log.last(MAX_LOG_LINES)))
        return tuple(map(clean_log_line, self._log.new()))[-MAX_LOG_LINES:]


class DeviceFeed(Feed):
    """Devices and host."""

    subject = "the devices"

    def __init__(self, target: MessagePump, seconds: float, run_pids: Callable[[], Mapping[int, str]]) -> None:
        """`run_pids` has the process ids of living workers and their runs; it is called in the thread."""
        super().__init__(target, seconds)
        self._run_pids = run_pids
        self._sampler: DeviceSampler | None = None

    def read(self) -> Message | None:
        if self._sampler is None:
            from mg_tui.hardware.sampler import DeviceSampler

            self._sampler = DeviceSampler(self._run_pids)
        return DevicesUpdated(self._sampler.sample())


def clean_log_line(line: str) -> str:
    """A line of a log as text: colours taken out, of a redrawn progress bar its last state, controls made visible."""
    last = next((part for part in reversed(_ANSI_ESCAPES.sub("", line).split("\r")) if part.strip()), "")
    return printable(last.expandtabs(8), limit=2_000)
