"""Following a run from a terminal: a progress bar, warnings above it, and what ctrl+c means.

The run is another process and goes on whatever happens here. Ctrl+c asks whether to stop it; leaving is the default.
"""

import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Literal, Protocol

import click

from mg_tui.cli.formatting import (
    format_duration,
    format_event,
    format_number,
    format_outcome,
    format_progress,
    format_step,
)
from mg_tui.core.events import Event
from mg_tui.core.text import one_line
from mg_tui.runs import control
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.follow import follow
from mg_tui.runs.replay import Replay
from mg_tui.runs.state import RunState
from mg_tui.runs.view import RunView
from mg_tui.runs.watch import RunWatch

if TYPE_CHECKING:
    from rich.progress import TaskID

POLL_SECONDS = 0.5  # seconds: two updates a second are what a slow link bears
EXIT_INTERRUPTED = 130
_MAX_BACKLOG_LINES = 20  # step lines of what was before, when a run is joined late
_BAR_KINDS = frozenset({"started", "phase"})  # what the bar itself shows

InterruptChoice = Literal["stop", "now", "detach"]


class FollowStyle:
    """How a run is shown while it is followed; subclasses show other detached work (`mg_tui.cli.evaluations`)."""

    stop_question = "stop (saves a checkpoint) or detach?"

    def bar(self) -> "ProgressDisplay":
        """Shows it on a terminal."""
        return BarDisplay()

    def lines(self, folder: RunFolder) -> "ProgressDisplay":
        """Shows it elsewhere."""
        return LineDisplay(read_logging_steps(folder))

    def outcome(self, folder: RunFolder, view: RunView, state: RunState) -> list[str]:
        """How it ended."""
        return format_outcome(folder, view, state)


def follow_run(folder: RunFolder, style: FollowStyle | None = None) -> RunState:
    """Show a run's progress on standard error until it ends or the user detaches; returns its state then.

    Raises:
        RunFailed: the worker this process started died before its first word.
        EnvironmentProblem: journal or lock cannot be read.
        click.exceptions.Exit: 130, on an interrupt where nobody can be asked; the run goes on.
    """
    style = style or FollowStyle()
    watch = RunWatch(folder)
    display = style.bar() if _is_terminal() else style.lines(folder)
    asked = False
    with _exit_on_signals(), contextlib.closing(display):
        while not watch.state.ended:
            try:
                for events in follow(folder, POLL_SECONDS, watch=watch):
                    display.update(watch, events)
                break
            except KeyboardInterrupt:
                display.close()
                answer = _ask_on_interrupt(asked, style.stop_question)
                if answer == "detach":
                    return _detach(folder, watch)
                control.send_request(folder, "stop_now" if answer == "now" else "stop", control.requester("cli"))
                click.echo("stop requested; press ctrl+c again to detach", err=True)
                asked = True
    for line in style.outcome(folder, watch.view, watch.state):
        click.echo(line, err=True)
    return watch.state


def play_replay(played: Replay) -> None:
    """Show a replay as the run itself was shown. Ctrl+c ends it and asks nothing.

    Raises:
        EnvironmentProblem: the journal cannot be read.
    """
    display: ProgressDisplay = BarDisplay() if _is_terminal() else LineDisplay(read_logging_steps(played.folder))
    with _exit_on_signals(), contextlib.closing(display):
        for events in played.play(POLL_SECONDS):
            display.update(played, events)
    for line in format_outcome(played.folder, played.view, played.state):
        click.echo(line, err=True)


def exit_code_of(state: RunState, folder: RunFolder) -> int:
    """The exit code of a command that followed a run to `state`: 0 when it went well or goes on."""
    if state is RunState.FAILED:
        watch = RunWatch(folder)
        watch.refresh()
        recorded = watch.view.error.get("exit_code")
        return recorded if isinstance(recorded, int) and 0 < recorded < 256 else 1
    return 1 if state in (RunState.CRASHED, RunState.INTERRUPTED) else 0


def read_logging_steps(folder: RunFolder) -> int:
    """The spec's interval between printed steps; 1 when it cannot be read."""
    from mg_tui.core.errors import UsageError

    try:
        value = folder.spec_values().get("logging_steps")
    except UsageError:
        return 1
    return value if isinstance(value, int) and value > 0 else 1


class RunObserver(Protocol):
    """A run as it is, or as it was: `RunWatch`, or `Replay`."""

    @property
    def view(self) -> RunView:
        """What the events so far say."""

    @property
    def state(self) -> RunState:
        """The state at that moment."""

    def now(self) -> float:
        """The moment, in Unix time."""


class ProgressDisplay(Protocol):
    """What shows a run; `close` may be followed by more of `show`."""

    def update(self, watch: RunObserver, events: Sequence[Event]) -> None:
        """Show what is new, or only that time goes by."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class LineDisplay:
    """One line for each logging interval, for logs and for people who read lines."""

    def __init__(self, interval: int):
        self._interval = interval
        self._printed = 0

    def update(self, watch: RunObserver, events: Sequence[Event]) -> None:
        """Print the lines of what is new."""
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
        place = f"{event.data.get('step')}/{total}" if total is not None else str(event.data.get("step"))
        return f"step {place}  loss {format_number(event.data.get('loss'))}  lr {format_number(event.data.get('learning_rate'))}"


class BarDisplay:
    """A progress bar on standard error; other news scrolls by above it. `loss`: whether there is a loss to show."""

    def __init__(self, *, loss: bool = True) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),  # a full-width line would be wrapped, and drawn twice, by the echo of ctrl+c
            TextColumn("{task.fields[place]}", markup=False),
            *([TextColumn("loss {task.fields[loss]}", markup=False)] if loss else []),
            TextColumn("ETA {task.fields[eta]}", markup=False),
            console=self._console,
            auto_refresh=False,
        )
        self._task: TaskID = self._bar.add_task("starting", total=None, place="", loss="—", eta="—")

    def update(self, watch: RunObserver, events: Sequence[Event]) -> None:
        """Bring the bar up to date."""
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
            place=format_progress(view),
            loss=format_number(view.loss),
            eta=format_duration(view.eta_seconds(watch.now())),
        )
        self._bar.refresh()

    def close(self) -> None:
        """Stop drawing and show the cursor again."""
        self._bar.stop()


def _phase_text(watch: RunObserver) -> str:
    if watch.state is RunState.RUNNING:
        return watch.view.phase or "starting"
    return {RunState.CREATED: "waiting to start", RunState.QUEUED: "queued"}.get(watch.state, watch.state.label)


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _ask_on_interrupt(asked: bool, first_question: str) -> InterruptChoice:
    """What to do with the run. Nobody there to answer, or a second ctrl+c: detach."""
    if not sys.stdin.isatty():
        return "detach"
    question = "stop immediately or detach?" if asked else first_question
    try:
        said = _read_answer(f"\n{question} [s/D]: ")
    except KeyboardInterrupt:
        click.echo(err=True)
        return "detach"
    if said.strip().lower() not in ("s", "stop"):
        return "detach"
    return "now" if asked else "stop"


def _read_answer(question: str) -> str:
    """What was typed; empty at the end of the input.

    `input()` forgets a ctrl+c that comes between the question and its reading until the next key. Here the signal
    itself wakes the waiting.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        click.echo(question, nl=False, err=True)
        while True:
            ready, _, _ = select.select([sys.stdin.fileno(), read], [], [])
            if sys.stdin.fileno() in ready:
                return os.read(sys.stdin.fileno(), 4096).decode(errors="replace")
            os.read(read, 4096)  # an interrupt is raised by now; other signals mean nothing here
    finally:
        signal.set_wakeup_fd(before)
        os.close(read)
        os.close(write)


def _detach(folder: RunFolder, watch: RunWatch) -> RunState:
    reattach = f"model-garden {folder.command} watch {folder.id}"
    click.echo(f"detached; the {folder.noun} continues. Reattach with `{reattach}`", err=True)
    if not sys.stdin.isatty():
        raise click.exceptions.Exit(EXIT_INTERRUPTED)
    return watch.state


@contextlib.contextmanager
def _exit_on_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an ordinary exit that shows the cursor again. One that is ignored stays so."""

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {}
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, leave)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
