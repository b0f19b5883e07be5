"""`model-garden runs queue`, `hold`, `release`, `move` and `wake`."""

from typing import Any

import click

from mg_tui.cli.launch import restart_queue
from mg_tui.cli.runs.common import JSON_OPTION, RUN_ARGUMENT, print_json, print_resume_hint
from mg_tui.cli.tables import format_table, terminal_width
from mg_tui.config import Settings
from mg_tui.core.program import runnable
from mg_tui.core.text import one_line, printable


@click.command("queue")
@JSON_OPTION
@click.pass_obj
def queue(settings: Settings, as_json: bool) -> None:
    """List queued runs in order, and what each is waiting for."""
    from mg_tui.runs import queue as queues

    entries = [entry.as_dict(n) for n, entry in enumerate(queues.list_queue(settings.home, thorough=True), start=1)]
    if as_json:
        print_json(entries)
        return
    if not entries:
        click.echo(runnable("The queue is empty; add a run with `model-garden train-vision --queue`."), err=True)
    for line in _queue_lines(entries):
        click.echo(line)


@click.command()
@RUN_ARGUMENT
@click.pass_obj
def hold(settings: Settings, run: str) -> None:
    """Put a queued run on hold; the runs behind it proceed."""
    _set_held(settings, run, True)


@click.command()
@RUN_ARGUMENT
@click.pass_obj
def release(settings: Settings, run: str) -> None:
    """Release a held run."""
    _set_held(settings, run, False)


@click.command()
@RUN_ARGUMENT
@click.argument("position", metavar="first|last|N")
@click.pass_obj
def move(settings: Settings, run: str, position: str) -> None:
    """Move a queued run to another position: first, last, or a number from 1."""
    from mg_tui.core.errors import UsageError
    from mg_tui.runs import queue as queues
    from mg_tui.runs.store import find_run

    if position not in ("first", "last") and not (position.isdecimal() and int(position) > 0):
        raise UsageError(f"position: got {position!r}; expected first, last, or a number from 1")
    number = {"first": 1, "last": 1 << 30}.get(position) or int(position)
    folder = find_run(settings.home, run)
    click.echo(f"{printable(folder.id)} is now at position {queues.move_to_position(folder, number)}", err=True)


@click.command()
@click.option("--resume", is_flag=True, help="Also resume interrupted runs; always on with [runs] resume_interrupted.")
@JSON_OPTION
@click.pass_obj
def wake(settings: Settings, resume: bool, as_json: bool) -> None:
    """Restart the queue after a reboot, e.g. from a systemd unit or a container entry point.

    The dashboard and other `runs` commands do this on start.
    """
    from mg_tui.runs.interrupted import find_interrupted

    restarted = restart_queue(settings.home, resume=resume or settings.resume_interrupted, thorough=True)
    remaining = find_interrupted(settings.home)
    if as_json:
        changes = [
            (restarted.resumed, "goes on"),
            (restarted.queued, "waits again"),
            ([run.folder for run in remaining], "interrupted"),
        ]
        print_json([{"id": folder.id, "what": what} for folders, what in changes for folder in folders])
        return
    restarted.print()
    if not (restarted.resumed or restarted.queued):
        click.echo("Nothing to restart.", err=True)
    print_resume_hint(remaining)


def _set_held(settings: Settings, run: str, held: bool) -> None:
    from mg_tui.runs import queue as queues
    from mg_tui.runs.store import find_run

    folder = find_run(settings.home, run)
    queues.set_held(folder, held)
    click.echo(f"{'held' if held else 'released'}: {printable(folder.id)}", err=True)


def _queue_lines(entries: list[dict[str, Any]]) -> list[str]:
    rows = [
        (str(entry["position"]), printable(entry["id"]), str(entry["gpus"]), one_line(_waiting_reason(entry)))
        for entry in entries
    ]
    headings = ("position", "id", "devices", "waits for")
    return format_table(headings, rows, width=terminal_width(), right=("position",)) if rows else []


def _waiting_reason(entry: dict[str, Any]) -> str:
    if entry["held"]:
        return "held"
    if not entry["waiting_process"]:
        return runnable("its waiter process died; restart it with `model-garden runs wake`")
    return one_line(str(entry["waits_for"] or "about to start"), limit=200)
