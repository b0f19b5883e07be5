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

from mg_tui.cli.run_text import duration, ending, event_line, progress, short, step_line
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

POLL = 0.5  # seconds: two updates a second are what a slow link bears
INTERRUPTED = 130
_HISTORY = 20  # step lines of what was before, when a run is joined late
_QUIET = frozenset({"started", "phase"})  # what the bar itself shows

Answer = Literal["stop", "now", "detach"]


def follow_run(folder: RunFolder) -> RunState:
    """Show a run's progress on standard error until it ends or the user detaches; returns its state then.

    Raises:
        RunFailed: the worker this process started died before its first word.
        EnvironmentProblem: journal or lock cannot be read.
        click.exceptions.Exit: 130, on an interrupt where nobody can be asked; the run goes on.
    """
    watch = RunWatch(folder)
    display: Display = BarDisplay() if _is_terminal() else PlainDisplay(logging_steps(folder))
    asked = False
    with _terminated_in_order(), contextlib.closing(display):
        while not watch.state.ended:
            try:
                for events in follow(folder, POLL, watch=watch):
                    display.show(watch, events)
                break
            except KeyboardInterrupt:
                display.close()
                answer = _ask(asked)
                if answer == "detach":
                    return _detached(folder, watch)
                control.send(folder, "stop_now" if answer == "now" else "stop", control.whoami("cli"))
                click.echo("asked the run to stop; ctrl+c again to detach", err=True)
                asked = True
    for line in ending(folder, watch.view, watch.state):
        click.echo(line, err=True)
    return watch.state


def show_replay(played: Replay) -> None:
    """Show a replay as the run itself was shown. Ctrl+c ends it and asks nothing.

    Raises:
        EnvironmentProblem: the journal cannot be read.
    """
    display: Display = BarDisplay() if _is_terminal() else PlainDisplay(logging_steps(played.folder))
    with _terminated_in_order(), contextlib.closing(display):
        for events in played.play(POLL):
            display.show(played, events)
    for line in ending(played.folder, played.view, played.state):
        click.echo(line, err=True)


def exit_code_of(state: RunState, folder: RunFolder) -> int:
    """The exit code of a command that followed a run to `state`: 0 when it went well or goes on."""
    if state is RunState.FAILED:
        watch = RunWatch(folder)
        watch.refresh()
        recorded = watch.view.error.get("exit_code")
        return recorded if isinstance(recorded, int) and 0 < recorded < 256 else 1
    return 1 if state in (RunState.CRASHED, RunState.INTERRUPTED) else 0


def logging_steps(folder: RunFolder) -> int:
    """The spec's interval between printed steps; 1 when it cannot be read."""
    from mg_tui.core.errors import UsageError

    try:
        value = folder.spec_values().get("logging_steps")
    except UsageError:
        return 1
    return value if isinstance(value, int) and value > 0 else 1


class Watched(Protocol):
    """A run as it is, or as it was: `RunWatch`, or `Replay`."""

    @property
    def view(self) -> RunView:
        """What the events so far say."""

    @property
    def state(self) -> RunState:
        """The state at that moment."""

    def now(self) -> float:
        """The moment, in Unix time."""


class Display(Protocol):
    """What shows a run; `close` may be followed by more of `show`."""

    def show(self, watch: Watched, events: Sequence[Event]) -> None:
        """Show what is new, or only that time goes by."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class PlainDisplay:
    """One line for each logging interval, for logs and for people who read lines."""

    def __init__(self, interval: int):
        self._interval = interval
        self._printed = 0

    def show(self, watch: Watched, events: Sequence[Event]) -> None:
        """Print the lines of what is new."""
        steps = [event.n for event in events if event.kind == "step" and self._due(event, watch)]
        recent = set(steps[-_HISTORY:])
        if len(steps) > len(recent):
            click.echo(f"… {len(steps) - len(recent)} earlier lines left out", err=True)
        for event in events:
            if event.n in recent:
                click.echo(self._line(event, watch), err=True)
            elif (line := event_line(event)) is not None:
                click.echo(line, err=True)

    def close(self) -> None:
        """Nothing to restore."""

    def _due(self, event: Event, watch: Watched) -> bool:
        step = event.data.get("step")
        return isinstance(step, int) and (step % self._interval == 0 or step in (1, watch.view.total_steps))

    def _line(self, event: Event, watch: Watched) -> str:
        if event.data.get("step") == watch.view.step:
            return step_line(watch.view, watch.now())
        total = watch.view.total_steps
        place = f"{event.data.get('step')}/{total}" if total is not None else str(event.data.get("step"))
        return f"step {place}  loss {short(event.data.get('loss'))}  lr {short(event.data.get('learning_rate'))}"


class BarDisplay:
    """A progress bar on standard error; other news scrolls by above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),  # a full-width line would be wrapped, and drawn twice, by the echo of ctrl+c
            TextColumn("{task.fields[place]}", markup=False),
            TextColumn("loss {task.fields[loss]}", markup=False),
            TextColumn("ETA {task.fields[eta]}", markup=False),
            console=self._console,
            auto_refresh=False,
        )
        self._task: TaskID = self._bar.add_task("starting", total=None, place="", loss="—", eta="—")

    def show(self, watch: Watched, events: Sequence[Event]) -> None:
        """Bring the bar up to date."""
        from rich.text import Text

        self._bar.start()
        for event in events:
            line = None if event.kind in _QUIET else event_line(event)
            if line is not None:
                self._console.print(Text(line, style="yellow" if line.startswith("warning") else ""), soft_wrap=True)
        view = watch.view
        self._bar.update(
            self._task,
            description=one_line(_doing(watch), limit=24),
            total=view.total_steps,
            completed=view.step,
            place=progress(view),
            loss=short(view.loss),
            eta=duration(view.eta_seconds(watch.now())),
        )
        self._bar.refresh()

    def close(self) -> None:
        """Stop drawing and show the cursor again."""
        self._bar.stop()


def _doing(watch: Watched) -> str:
    if watch.state is RunState.RUNNING:
        return watch.view.phase or "starting"
    return {RunState.CREATED: "waiting to start", RunState.QUEUED: "in the queue"}.get(watch.state, watch.state.word)


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _ask(asked: bool) -> Answer:
    """What to do with the run. Nobody there to answer, or a second ctrl+c: detach."""
    if not sys.stdin.isatty():
        return "detach"
    question = "stop at once or detach?" if asked else "stop (checkpoint first) or detach?"
    try:
        said = _answer(f"\n{question} [s/D]: ")
    except KeyboardInterrupt:
        click.echo(err=True)
        return "detach"
    if said.strip().lower() not in ("s", "stop"):
        return "detach"
    return "now" if asked else "stop"


def _answer(question: str) -> str:
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


def _detached(folder: RunFolder, watch: RunWatch) -> RunState:
    click.echo(f"detached: the run goes on; come back with `model-garden runs watch {folder.id}`", err=True)
    if not sys.stdin.isatty():
        raise click.exceptions.Exit(INTERRUPTED)
    return watch.state


@contextlib.contextmanager
def _terminated_in_order() -> Iterator[None]:
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
