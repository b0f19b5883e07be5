"""An evaluation while it is followed: rows answered, ETA, and at its end the scores."""

from collections.abc import Sequence

import click

from mg_tui.cli.displays import BarDisplay, ProgressDisplay, RunObserver, draws_bars
from mg_tui.cli.follow import FollowStyle
from mg_tui.cli.formatting import format_duration, format_event, format_progress
from mg_tui.core.events import Event
from mg_tui.core.program import runnable
from mg_tui.core.text import one_line, printable
from mg_tui.runs.evaluations import EvaluationFolder
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.state import RunState
from mg_tui.runs.view import RunView
from mg_tui.runs.worker_log import read_tail, strip_terminal_codes

_LINE_SHARE = 20  # a line each time this part of the rows is answered
_LOG_LINES = 4


class EvaluationLines:
    """A line each twentieth of the rows, for logs and for people who read lines."""

    def __init__(self) -> None:
        self._printed = -1

    def update(self, watch: RunObserver, events: Sequence[Event]) -> None:
        """Print the lines of what is new."""
        for event in events:
            if event.kind != "decision" and (line := _event_line(event)) is not None:
                click.echo(line, err=True)
        view = watch.view
        part = _LINE_SHARE * view.step // view.total_steps if view.total_steps else -1
        if part > self._printed and view.step:
            self._printed = part
            eta = format_duration(view.eta_seconds(watch.now()))
            click.echo(f"answered {format_progress(view)}  ETA {eta}", err=True)

    def close(self) -> None:
        """Nothing to restore."""


class EvaluationStyle(FollowStyle):
    """How an evaluation is followed."""

    stop_question = "stop (answers are kept) or detach?"

    def open_display(self, folder: RunFolder) -> ProgressDisplay:
        return BarDisplay(loss=False) if draws_bars() else EvaluationLines()

    def outcome(self, folder: RunFolder, view: RunView, state: RunState) -> list[str]:
        return format_evaluation_outcome(folder, view, state)


def format_evaluation_outcome(folder: RunFolder, view: RunView, state: RunState) -> list[str]:
    """How an evaluation ended and what to do next; empty while it has not."""
    place = format_progress(view)
    resume = runnable(f"  resume: model-garden evaluations resume {folder.id}")
    if state is RunState.FINISHED:
        seconds = view.elapsed_seconds(view.ended_at or 0.0)
        return [f"finished: {view.step} rows answered in {format_duration(seconds)}", f"results: {_results(folder)}"]
    if state is RunState.STOPPED:
        by = view.result.get("by")
        outcome = f"stopped after {place} rows" + (f" by {printable(str(by))}" if by else "")
        return [f"{outcome}; answers are kept", resume]
    if state is RunState.FAILED:
        error = view.error
        lines = [f"failed after {place} rows: {printable(str(error.get('what') or error.get('error') or ''))}"]
        for label, name in (("where", "where"), ("why", "why"), ("try", "hint")):
            if error.get(name):
                lines.append(f"  {label}: {one_line(str(error[name]))}")
        return [*lines, *([resume] if view.step else [])]
    if state in (RunState.CRASHED, RunState.INTERRUPTED):
        tail = [strip_terminal_codes(line) for line in read_tail(folder.log_file, _LOG_LINES)]
        log = [f"  log: {one_line(line, limit=160)}" for line in tail if line.strip()]
        return [f"{state.label} after {place} rows; answers are kept", *log, resume]
    return []


def _results(folder: RunFolder) -> str:
    return printable(str(EvaluationFolder(folder.path).results_dir))


def _event_line(event: Event) -> str | None:
    if event.kind == "plan":
        return f"plan: {event.data.get('examples')} rows, {event.data.get('steps')} answers"
    return format_event(event)
