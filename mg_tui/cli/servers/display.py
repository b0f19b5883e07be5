"""A server while it is followed: what its start does, its address, and then one line with what it does."""

from collections.abc import Sequence
from typing import Any

import click

from mg_tui.cli.displays import ProgressDisplay, RunObserver, draws_bars
from mg_tui.cli.follow import FollowStyle
from mg_tui.cli.formatting import format_duration
from mg_tui.core.events import Event
from mg_tui.core.text import one_line, pluralize, printable
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.servers import ServerFolder
from mg_tui.runs.state import RunState
from mg_tui.runs.view import RunView
from mg_tui.runs.worker_log import read_tail, strip_terminal_codes

_LOG_LINES = 4


class ServerDisplay:
    """Lines of what happens, and on a terminal a last line that is redrawn."""

    def __init__(self, folder: ServerFolder):
        self._folder = folder
        self._drawn = False
        self._serving = False

    def update(self, watch: RunObserver, events: Sequence[Event]) -> None:
        """Print what is new."""
        for event in events:
            if (line := event_line(event)) is not None:
                self._clear()
                click.echo(line, err=True)
            if event.kind == "serving":
                self._serving = True
                click.echo(printable(str(event.data.get("url"))))
        if self._serving and draws_bars() and watch.state is RunState.RUNNING:
            self._clear()
            click.echo(f"{status_line(self._folder.read_status())}  ctrl+c stops", nl=False, err=True)
            self._drawn = True

    def close(self) -> None:
        """End the line that is redrawn."""
        self._clear()

    def _clear(self) -> None:
        if self._drawn:
            click.echo("\r\x1b[2K", nl=False, err=True)
            self._drawn = False


class ServerStyle(FollowStyle):
    """How a server is followed."""

    stop_question = "stop the server or detach?"

    def open_display(self, folder: RunFolder) -> ProgressDisplay:
        return ServerDisplay(ServerFolder(folder.path))

    def outcome(self, folder: RunFolder, view: RunView, state: RunState) -> list[str]:
        return format_server_outcome(folder, view, state)


def event_line(event: Event) -> str | None:
    """One event as a line; None for one that is not shown."""
    data = event.data
    match event.kind:
        case "phase" if data.get("name") != "serving":
            return one_line(f"{data.get('name')}  {data.get('detail') or ''}".rstrip())
        case "serving":
            models = ", ".join(map(str, data.get("models") or ()))
            return one_line(f"serving {models} with the engine {data.get('engine')}")
        case "proof":
            return one_line(f"proof: {proof_text(data)}", limit=400)
        case "warning":
            return one_line(f"warning: {data.get('what')}", limit=400)
    return None


def proof_text(proof: Any) -> str:
    """Whether a served model answers as the trained one, in one sentence."""
    name, rows, alike = proof.get("model"), proof.get("rows"), proof.get("alike")
    if proof.get("outcome") == "none":
        return f"{name} was not compared with the trained model: {proof.get('why')}"
    if proof.get("outcome") == "different":
        return f"{name} answers differently: {alike} of {pluralize(int(rows or 0), 'row')} as the trained model"
    text = f"{name} answers {alike} of {pluralize(int(rows or 0), 'row')} as the trained model"
    if proof.get("adapter_changes") == 0:
        text += "; its adapter changes none of them, so they do not show whether it is applied"
    return text


def status_line(status: dict[str, Any]) -> str:
    """What a running server does, on one line."""
    parts = [f"{status.get('requests', 0)} answered", f"{status.get('requests_per_second', 0):.1f}/s"]
    if status.get("latency_seconds") is not None:
        parts.append(f"{status['latency_seconds']:.2f} s each")
    if status.get("first_token_seconds") is not None:
        parts.append(f"first token {status['first_token_seconds']:.2f} s")
    parts.append(f"{status.get('answering', 0)} now")
    return "  ".join(parts)


def format_server_outcome(folder: RunFolder, view: RunView, state: RunState) -> list[str]:
    """How a server ended; empty while it has not."""
    if state is RunState.STOPPED:
        answered, by = view.result.get("requests", 0), view.result.get("by")
        seconds = format_duration(view.elapsed_seconds(view.ended_at or 0.0))
        line = f"stopped after {seconds}; {pluralize(int(answered), 'request')} answered"
        return [line + (f"; by {printable(str(by))}" if by else "")]
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
