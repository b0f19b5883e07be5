"""Two displays of a run on standard error: a progress bar on a terminal, lines elsewhere."""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import click

from mg_tui.cli.formatting import format_duration, format_event, format_number, format_progress, format_step
from mg_tui.core.events import Event
from mg_tui.core.text import one_line
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.heartbeat import describe_silence
from mg_tui.runs.state import RunState
from mg_tui.runs.view import RunView

if TYPE_CHECKING:
    from rich.progress import TaskID

_MAX_BACKLOG_LINES = 20  # step lines printed for the time before the display was opened
_BAR_KINDS = frozenset({"started", "phase"})  # shown in the bar itself


def open_display(folder: RunFolder) -> "ProgressDisplay":
    """A bar where standard error is a terminal, lines elsewhere."""
    return BarDisplay() if draws_bars() else LineDisplay(read_logging_steps(folder))


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


class LineDisplay:
    """One line per logging interval, for logs and plain terminals."""

    def __init__(self, interval: int):
        self._interval = interval
        self._printed = 0

    def update(self, watch: RunObserver, events: Sequence[Event]) -> None:
        """Print a line for each new event that is due."""
        steps = [event.n for event in events if event.kind == "step" and self._due(event, watch)]
        recent = set(steps[-_MAX_BACKLOG_LINES:])
        if len(steps) > len(recent):
            click.echo(f"… {len(steps) - len(recent)} earlier lines omitted", err=True)
        for event in events:
            if event.n in recent:
                click.echo(self._line(event, watch), err=True)
            elif (line := format_event(event)) is not None:
                click.echo(line, err=True)

    def close(self) -> None:
        """Nothing to restore."""

    def _due(self, event: Event, watch: RunObserver) -> bool:
        step = event.data.get("step")
        return isinstance(step, int) and (step % self._interval == 0 or step in (1, watch.view.total_steps))

    def _line(self, event: Event, watch: RunObserver) -> str:
        if event.data.get("step") == watch.view.step:
            return format_step(watch.view, watch.now())
        total = watch.view.total_steps
        progress = f"{event.data.get('step')}/{total}" if total is not None else str(event.data.get("step"))
        loss, learning_rate = (format_number(event.data.get(name)) for name in ("loss", "learning_rate"))
        return f"step {progress}  loss {loss}  lr {learning_rate}"


class BarDisplay:
    """A progress bar on standard error; other events are printed above it. `loss`: whether to show a loss."""

    def __init__(self, *, loss: bool = True) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

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
            line = None if event.kind in _BAR_KINDS else format_event(event)
            if line is not None:
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
