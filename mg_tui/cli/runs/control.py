"""`model-garden runs stop`, `checkpoint` and `rm`."""

import sys
from typing import TYPE_CHECKING

import click

from mg_tui.cli.runs.common import JSON_OPTION, RUN_ARGUMENT, print_json
from mg_tui.config import Settings
from mg_tui.core.errors import UsageError
from mg_tui.core.text import printable

if TYPE_CHECKING:
    from mg_tui.runs.folder import RunFolder
    from mg_tui.runs.operations import RequestResult


@click.command()
@RUN_ARGUMENT
@click.option("--now", is_flag=True, help="Exit immediately, without a checkpoint.")
@JSON_OPTION
@click.pass_obj
def stop(settings: Settings, run: str, now: bool, as_json: bool) -> None:
    """Stop a run after saving a checkpoint. A second stop exits immediately.

    A queued run is removed from the queue.
    """
    from mg_tui.runs import control, operations
    from mg_tui.runs.store import find_run

    result = operations.request_stop(find_run(settings.home, run), control.requester("cli"), now=now)
    _print_request(result, as_json=as_json)


@click.command()
@RUN_ARGUMENT
@JSON_OPTION
@click.pass_obj
def checkpoint(settings: Settings, run: str, as_json: bool) -> None:
    """Save a checkpoint now."""
    from mg_tui.runs import control, operations
    from mg_tui.runs.store import find_run

    result = operations.request_checkpoint(find_run(settings.home, run), control.requester("cli"))
    _print_request(result, as_json=as_json)


@click.command()
@click.argument("run", metavar="ID...", nargs=-1, required=True)
@click.option("--yes", "-y", is_flag=True, help="Skip the confirmation.")
@click.pass_obj
def rm(settings: Settings, run: tuple[str, ...], yes: bool) -> None:
    """Delete runs with their checkpoints and results. Running runs cannot be deleted."""
    from mg_tui.runs.remove import remove_run
    from mg_tui.runs.store import find_run

    folders = list(dict.fromkeys(find_run(settings.home, ref) for ref in run))
    if not yes:
        _confirm(f"remove {', '.join(folder.id for folder in folders)}?")
    for folder in folders:
        remove_run(folder)
        click.echo(f"removed {printable(folder.id)}", err=True)


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("Cannot ask for confirmation without a terminal.", hint="add --yes")
    click.confirm(printable(question), default=False, abort=True, err=True)


def _print_request(result: "RequestResult", *, as_json: bool) -> None:
    if as_json:
        print_json({"id": result.folder.id, "request": result.request, "seen": result.acknowledged})
    elif result.queued:
        pending = "requested; no response from its waiter process yet"
        click.echo("removed from the queue" if result.acknowledged else pending, err=True)
    else:
        status = "acknowledged" if result.acknowledged else _pending_status(result.folder)
        click.echo(f"{result.request.replace('_', ' ')}: {status}", err=True)


def _pending_status(folder: "RunFolder") -> str:
    from mg_tui.runs.watch import RunWatch

    watched = RunWatch(folder)
    watched.refresh()
    phase = printable(watched.view.phase or "busy", limit=40)
    return f"requested; not acknowledged yet ({phase}, process {watched.view.pid})"
