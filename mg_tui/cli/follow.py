"""Follow a run from a terminal; ctrl+c asks whether to stop it or to detach.

The run is a process of its own and continues when this one ends. Detaching is the default answer.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Literal

import click

from mg_tui.cli.displays import ProgressDisplay, draws_bars, open_display
from mg_tui.cli.formatting import format_outcome
from mg_tui.config import Settings
from mg_tui.core.program import runnable
from mg_tui.core.settings import SETTINGS_BY_ID
from mg_tui.core.terminal_notice import end_notice
from mg_tui.runs import control, operations
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.follow import follow
from mg_tui.runs.replay import Replay
from mg_tui.runs.state import RunState
from mg_tui.runs.view import RunView
from mg_tui.runs.watch import RunWatch

POLL_SECONDS = 0.5  # two updates a second suit a slow link
EXIT_INTERRUPTED = 130
_STOP_POLL_SECONDS = 0.2
_STOP_SECONDS = 45.0  # for work to end after it was asked to

InterruptChoice = Literal["stop", "now", "detach"]


class FollowStyle:
    """How a run is shown while it is followed; subclasses show other detached work (`mg_tui.cli.evaluations`)."""

    stop_question = "stop (saves a checkpoint) or detach?"

    def open_display(self, folder: RunFolder) -> ProgressDisplay:
        """The display of its progress."""
        return open_display(folder)

    def outcome(self, folder: RunFolder, view: RunView, state: RunState) -> list[str]:
        """How it ended, in lines."""
        return format_outcome(folder, view, state)


def follow_run(folder: RunFolder, style: FollowStyle | None = None) -> RunState:
    """Show a run's progress on standard error until it ends or the user detaches; returns its state then.

    Raises:
        RunFailed: the worker that this process started died before it wrote to the journal.
        EnvironmentProblem: journal or lock cannot be read.
        click.exceptions.Exit: 130, on an interrupt without a terminal to ask on; the run continues.
    """
    style = style or FollowStyle()
    watch = RunWatch(folder)
    display = style.open_display(folder)
    stopping = False
    with _exit_on_signals(), contextlib.closing(display):
        while not watch.state.ended:
            try:
                for events in follow(folder, POLL_SECONDS, watch=watch):
                    display.update(watch, events)
                break
            except KeyboardInterrupt:
                display.close()
                answer = _ask_on_interrupt(stopping, style.stop_question)
                if answer == "detach":
                    return _detach(folder, watch)
                operations.send_stop(folder, control.requester("cli"), now=answer == "now")
                click.echo("stop requested; press ctrl+c again to detach", err=True)
                stopping = True
    for line in style.outcome(folder, watch.view, watch.state):
        click.echo(line, err=True)
    _tell_end(f"{watch.view.name or folder.id} {watch.state.label}")
    return watch.state


def follow_until_stopped(folder: RunFolder, style: FollowStyle) -> RunWatch:
    """Show detached work until it ends; ctrl+c and SIGTERM stop it. The outcome is the caller's to print.

    Raises:
        RunFailed, EnvironmentProblem: as `follow_run`.
        click.exceptions.Exit: 1, if it has not ended in good time after it was asked to.
    """
    watch = RunWatch(folder)
    display = style.open_display(folder)
    asked_at: float | None = None
    with _stop_signals() as received, contextlib.closing(display):
        for events in follow(folder, _STOP_POLL_SECONDS, watch=watch):
            display.update(watch, events)
            if received and asked_at is None:
                asked_at = time.monotonic()
                control.send_request(folder, "stop", control.requester("cli"))
                display.close()
                click.echo("stopping", err=True)
            if asked_at is not None and (len(received) > 1 or time.monotonic() - asked_at > _STOP_SECONDS):
                click.echo(runnable(f"still ending: model-garden {folder.command} watch {folder.id}"), err=True)
                raise click.exceptions.Exit(1)
    return watch


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM are collected in a list within the block."""
    received: list[int] = []

    def collect(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, collect) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell_end(text: str) -> None:
    """Ring the terminal, where there is one, in the way of the setting `[ui] notify`."""
    context = click.get_current_context(silent=True)
    settings = context.obj if context is not None else None
    if isinstance(settings, Settings) and draws_bars():
        mode = str(settings.value(SETTINGS_BY_ID["ui.notify"]))
        click.echo(end_notice("Model Garden", text, mode, os.environ), nl=False, err=True)


def play_replay(replay: Replay) -> None:
    """Show a replay in the display of a live run. Ctrl+c ends it without a question.

    Raises:
        EnvironmentProblem: the journal cannot be read.
    """
    display = open_display(replay.folder, speed=replay.speed)
    with _exit_on_signals(), contextlib.closing(display):
        for events in replay.play(POLL_SECONDS):
            display.update(replay, events)
    for line in format_outcome(replay.folder, replay.view, replay.state):
        click.echo(line, err=True)


def exit_code_of(state: RunState, folder: RunFolder) -> int:
    """The exit code of a command that followed a run: 0 unless the run failed, crashed or was interrupted."""
    if state is RunState.FAILED:
        watch = RunWatch(folder)
        watch.refresh()
        recorded = watch.view.error.get("exit_code")
        return recorded if isinstance(recorded, int) and 0 < recorded < 256 else 1
    return 1 if state in (RunState.CRASHED, RunState.INTERRUPTED) else 0


def _ask_on_interrupt(stopping: bool, first_question: str) -> InterruptChoice:
    """Ask what to do with the run. Without a terminal, or on another ctrl+c: detach."""
    if not sys.stdin.isatty():
        return "detach"
    question = "stop immediately or detach?" if stopping else first_question
    try:
        answer = _read_answer(f"\n{question} [s/D]: ")
    except KeyboardInterrupt:
        click.echo(err=True)
        return "detach"
    if answer.strip().lower() not in ("s", "stop"):
        return "detach"
    return "now" if stopping else "stop"


def _read_answer(question: str) -> str:
    """Read one answer; empty at the end of the input.

    `input()` delays a ctrl+c that arrives between the question and the read until the next key. Waiting on the
    signal wakeup descriptor as well avoids that.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)
    previous = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        click.echo(question, nl=False, err=True)
        while True:
            ready, _, _ = select.select([sys.stdin.fileno(), read], [], [])
            if sys.stdin.fileno() in ready:
                return os.read(sys.stdin.fileno(), 4096).decode(errors="replace")
            os.read(read, 4096)  # an interrupt has been raised by now; other signals are ignored
    finally:
        signal.set_wakeup_fd(previous)
        os.close(read)
        os.close(write)


def _detach(folder: RunFolder, watch: RunWatch) -> RunState:
    reattach = runnable(f"model-garden {folder.command} watch {folder.id}")
    click.echo(f"detached; the {folder.noun} continues. Reattach with `{reattach}`", err=True)
    if not sys.stdin.isatty():
        raise click.exceptions.Exit(EXIT_INTERRUPTED)
    return watch.state


@contextlib.contextmanager
def _exit_on_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into SystemExit, so that displays restore the cursor. Ignored signals stay ignored."""

    def exit_process(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    previous = {}
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                previous[number] = signal.signal(number, exit_process)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
