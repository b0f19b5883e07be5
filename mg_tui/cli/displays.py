"""Two displays of a run on standard error: a progress bar on a terminal, lines elsewhere."""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

import click

from mg_tui.cli.formatting import format_duration, format_event, format_number, format_progress, format_step
from mg_tui.core.events import Event
from mg_tui.core.program import runnable
from mg_tui.core.text import one_line, pluralize
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.heartbeat import describe_silence
from mg_tui.runs.state import RunState
from mg_tui.runs.view import RunView

if TYPE_CHECKING:
    from rich.progress import TaskID

LINE_SECONDS: Final = 5.0  # least time between two step lines
_MAX_BACKLOG_LINES = 20  # step lines printed for the time before the display was opened
_BAR_KINDS = frozenset({"started", "phase"})  # shown in the bar itself


def open_display(folder: RunFolder, *, speed: float = 1.0) -> "ProgressDisplay":
    """A bar where standard error is a terminal, lines elsewhere. `speed`: of a replay."""
    if draws_bars():
        return BarDisplay(folder)
    return LineDisplay(read_logging_steps(folder), folder, seconds=LINE_SECONDS * speed)


def draws_bars() -> bool:
    """Whether standard error is a terminal that can redraw a line."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def read_logging_steps(folder: RunFolder) -> int:
    """The spec's interval between printed steps; 1 when it cannot be read."""
    from mg_tui.core.errors import UsageError

    try:
        value = folder.spec_values().get("logging_steps")
    except UsageError:
        return 1
    return value if isinstance(value, int) and value > 0 else 1


class RunObserver(Protocol):
    """A run that is being shown, live or replayed: `RunWatch` or `Replay`."""

    @property
    def view(self) -> RunView:
        """The state that the events so far add up to."""

    @property
    def state(self) -> RunState:
        """The state at that moment."""

    @property
    def silent_seconds(self) -> float | None:
        """How long its worker has not responded, or None."""

    def now(self) -> float:
        """The current time, or the time in the journal that a replay has reached, in Unix seconds."""


class ProgressDisplay(Protocol):
    """Shows a run; `update` may be called again after `close`."""

    def update(self, watch: RunObserver, events: Sequence[Event]) -> None:
        """Show new events; called with none when only time has passed."""

    def close(self) -> None:
        """Restore the terminal."""


class DecisionCount:
    """Counts the decisions of a start, which are one line together; the run's page lists them."""

    def __init__(self, folder: RunFolder | None = None) -> None:
        self._folder = folder
        self._count = 0

    def lines(self, event: Event) -> list[str]:
        """The lines of an event: none for a decision, and before the first step how many there were."""
        if event.kind == "decision":
            self._count += 1
            return []
        lines = []
        if event.kind in ("step", "eval", "checkpoint") and self._count:
            where = f"; `model-garden {self._folder.command} show {self._folder.id}` lists them" if self._folder else ""
            lines.append(runnable(f"{pluralize(self._count, 'option')} chosen automatically{where}"))
            self._count = 0
        line = format_event(event)
        return lines if line is None else [*lines, line]


class LineDisplay:
    """A line every few seconds, at most one per logging interval, for logs and plain terminals.

    Args:
        interval: the optimizer steps between two lines.
        folder: the run.
        seconds: the least time between two lines, in seconds of the run.
    """

    def __init__(self, interval: int, folder: RunFolder | None = None, *, seconds: float = LINE_SECONDS):
        self._interval = interval
        self._seconds = seconds
        self._printed_at = float("-inf")
        self._decisions = DecisionCount(folder)

    def update(self, watch: RunObserver, events: Sequence[Event]) -> None:
        """Print a line for each new event that is due."""
        steps = [event.n for event in events if event.kind == "step" and self._due(event, watch)]
        recent = set(steps[-_MAX_BACKLOG_LINES:])
        if len(steps) > len(recent):
            click.echo(f"… {len(steps) - len(recent)} earlier lines omitted", err=True)
        for event in events:
            for line in self._decisions.lines(event):
                click.echo(line, err=True)
            if event.n in recent:
                click.echo(self._line(event, watch), err=True)

    def close(self) -> None:
        """Nothing to restore."""

    def _due(self, event: Event, watch: RunObserver) -> bool:
        step = event.data.get("step")
        if not isinstance(step, int):
            return False
        due = step % self._interval == 0 and not 0 <= event.t - self._printed_at < self._seconds
        if due := due or step in (1, watch.view.total_steps):
            self._printed_at = event.t
        return due

    def _line(self, event: Event, watch: RunObserver) -> str:
        if event.data.get("step") == watch.view.step:
            return format_step(watch.view, watch.now())
        total = watch.view.total_steps
        progress = f"{event.data.get('step')}/{total}" if total is not None else str(event.data.get("step"))
        loss, learning_rate = (format_number(event.data.get(name)) for name in ("loss", "learning_rate"))
        return f"step {progress}  loss {loss}  lr {learning_rate}"


class BarDisplay:
    """A progress bar on standard error; other events are printed above it. `loss`: whether to show a loss."""

    def __init__(self, folder: RunFolder | None = None, *, loss: bool = True) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._decisions = DecisionCount(folder)
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),  # a full-width line would be wrapped, and drawn twice, by the echo of ctrl+c
            TextColumn("{task.fields[progress]}", markup=False),
            *([TextColumn("loss {task.fields[loss]}", markup=False)] if loss else []),
            TextColumn("ETA {task.fields[eta]}", markup=False),
            console=self._console,
            auto_refresh=False,
        )
        self._task: TaskID = self._bar.add_task("starting", total=None, progress="", loss="—", eta="—")

    def update(self, watch: RunObserver, events: Sequence[Event]) -> None:
        """Print new events and redraw the bar."""
        from rich.text import Text

        self._bar.start()
        for event in events:
            for line in () if event.kind in _BAR_KINDS else self._decisions.lines(event):
                self._console.print(Text(line, style="yellow" if line.startswith("warning") else ""), soft_wrap=True)
        view = watch.view
        self._bar.update(
            self._task,
            description=one_line(_phase_text(watch), limit=24),
            total=view.total_steps,
            completed=view.step,
            progress=format_progress(view),
            loss=format_number(view.loss),
            eta=format_duration(view.eta_seconds(watch.now())),
        )
        self._bar.refresh()

    def close(self) -> None:
        """Stop drawing and show the cursor again."""
        self._bar.stop()


def _phase_text(watch: RunObserver) -> str:
    if watch.state is RunState.RUNNING:
        if watch.silent_seconds is not None:
            return describe_silence(watch.silent_seconds)
        return watch.view.phase or "starting"
    return {RunState.CREATED: "waiting to start", RunState.QUEUED: "queued"}.get(watch.state, watch.state.label)
