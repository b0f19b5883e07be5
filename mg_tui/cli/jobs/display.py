"""A job while it is followed: a line for each part, beside a spinner on a terminal; and how it ended."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mg_tui.cli.displays import ProgressDisplay, RunObserver
from mg_tui.cli.follow import FollowStyle
from mg_tui.cli.formatting import format_bytes, format_duration
from mg_tui.cli.progress import spinner
from mg_tui.cli.tables import format_table, terminal_width
from mg_tui.core.events import Event
from mg_tui.core.text import one_line, printable
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.job_results import TABLE_HEADINGS, headline, quantization_rows, result_lines
from mg_tui.runs.model_jobs import job_result
from mg_tui.runs.state import RunState
from mg_tui.runs.view import RunView
from mg_tui.runs.worker_log import read_tail, strip_terminal_codes

_LOG_LINES = 4


class JobDisplay:
    """What a job tells, line by line."""

    def __init__(self, label: str):
        self._label = label
        self._drawn = contextlib.ExitStack()
        self._notify: Callable[[str], None] | None = None

    def update(self, watch: RunObserver, events: Sequence[Event]) -> None:
        """Print the lines of what is new."""
        if self._notify is None:
            self._notify = self._drawn.enter_context(spinner(self._label))
        for event in events:
            if (line := event_line(event)) is not None:
                self._notify(line)

    def close(self) -> None:
        """End the spinner."""
        self._notify = None
        self._drawn.close()


class JobStyle(FollowStyle):
    """How a job is followed."""

    stop_question = "stop (what is written in part is removed) or detach?"

    def open_display(self, folder: RunFolder) -> ProgressDisplay:
        return JobDisplay(folder.id)

    def outcome(self, folder: RunFolder, view: RunView, state: RunState) -> list[str]:
        return format_job_outcome(folder, view, state)


def event_line(event: Event) -> str | None:
    """One event as a line; None for one that is not shown."""
    match event.kind:
        case "phase":
            return one_line(str(event.data.get("name")), limit=400)
        case "notice":
            return one_line(str(event.data.get("text")), limit=1_000)
        case "warning":
            return one_line(f"warning: {event.data.get('what')}", limit=400)
    return None


def format_result(operation: str, result: Mapping[str, Any]) -> list[str]:
    """The figures of a finished job, its table of quantizations first."""
    rows = quantization_rows(result, format_bytes)
    table = format_table(TABLE_HEADINGS, rows, width=terminal_width(), right=TABLE_HEADINGS[1:]) if rows else []
    return [*table, *result_lines(operation, result, format_bytes)]


def format_job_outcome(folder: RunFolder, view: RunView, state: RunState) -> list[str]:
    """How a job ended; empty while it has not."""
    if (result := job_result(view)) is not None:
        operation = str(view.spec_values.get("operation"))
        seconds = format_duration(view.elapsed_seconds(view.ended_at or 0.0))
        return [f"finished after {seconds}: {headline(operation, result)}", *format_result(operation, result)]
    if state is RunState.STOPPED:
        by = view.result.get("by")
        return ["stopped" + (f" by {printable(str(by))}" if by else "") + "; what was written in part was removed"]
    if state is RunState.FAILED:
        error = view.error
        lines = [f"failed: {printable(str(error.get('what') or error.get('error') or ''))}"]
        for label, name in (("where", "where"), ("why", "why"), ("try", "hint")):
            if error.get(name):
                lines.append(f"  {label}: {one_line(str(error[name]), limit=600)}")
        return lines
    if state in (RunState.CRASHED, RunState.INTERRUPTED):
        tail = [strip_terminal_codes(line) for line in read_tail(folder.log_file, _LOG_LINES)]
        return [state.label, *(f"  log: {one_line(line, limit=160)}" for line in tail if line.strip())]
    return []
