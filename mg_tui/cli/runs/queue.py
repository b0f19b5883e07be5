"""`model-garden runs queue`, `hold`, `release`, `move` and `wake`: what waits for its turn, and its order."""

from typing import Any

import click

from mg_tui.config import Settings
from mg_tui.core.text import one_line, printable

_RUN_ARGUMENT = click.argument("run", metavar="ID")
_JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command("queue")
@_JSON_OPTION
@click.pass_obj
def queue(settings: Settings, as_json: bool) -> None:
    """List queued runs in order, and what each is waiting for."""
    from mg_tui.cli.runs import print_json
    from mg_tui.runs import queue as queues

    found = [entry.as_dict(n) for n, entry in enumerate(queues.list_queue(settings.home, thorough=True), start=1)]
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("The queue is empty; add a run with `model-garden train-vision --queue`.", err=True)
    for line in _queue_lines(found):
        click.echo(line)


@click.command()
@_RUN_ARGUMENT
@click.pass_obj
def hold(settings: Settings, run: str) -> None:
    """Put a queued run on hold; the runs behind it proceed."""
    _set_held(settings, run, True)


@click.command()
@_RUN_ARGUMENT
@click.pass_obj
def release(settings: Settings, run: str) -> None:
    """Release a held run."""
    _set_held(settings, run, False)


@click.command()
@_RUN_ARGUMENT
@click.argument("place", metavar="first|last|N")
@click.pass_obj
def move(settings: Settings, run: str, place: str) -> None:
    """Move a queued run to another position: first, last, or a number from 1."""
    from mg_tui.core.errors import UsageError
    from mg_tui.runs import queue as queues
    from mg_tui.runs.store import find_run

    if place not in ("first", "last") and not (place.isdecimal() and int(place) > 0):
        raise UsageError(f"position: got {place!r}; expected first, last, or a number from 1")
    number = {"first": 1, "last": 1 << 30}.get(place) or int(place)
    folder = find_run(settings.home, run)
    click.echo(f"{printable(folder.id)} is now at position {queues.move_to_position(folder, number)}", err=True)


@click.command()
@click.option("--resume", is_flag=True, help="Also resume interrupted runs; always on with [runs] resume_interrupted.")
@_JSON_OPTION
@click.pass_obj
def wake(settings: Settings, resume: bool, as_json: bool) -> None:
    """Restart the queue after a reboot, e.g. from a systemd unit or a container entry point.

    The dashboard and other `runs` commands do this on start.
    """
    from mg_tui.cli.runs import print_json, print_resume_hint
    from mg_tui.runs import control, launch
    from mg_tui.runs import queue as queues
    from mg_tui.runs.interrupted import find_interrupted, resume_interrupted

    resumed = []
    if resume or settings.resume_interrupted:
        resumed = resume_interrupted(settings.home, control.requester("resume_interrupted"))
    woken = queues.restart_waiters(settings.home, launch.start_waiter, thorough=True)
    left = find_interrupted(settings.home)
    if as_json:
        did = [(resumed, "goes on"), (woken, "waits again"), ([run.folder for run in left], "interrupted")]
        print_json([{"id": folder.id, "what": what} for folders, what in did for folder in folders])
        return
    for folder in resumed:
        click.echo(f"resumed: {printable(folder.id)}", err=True)
    for folder in woken:
        click.echo(f"queued again: {printable(folder.id)}", err=True)
    if not (woken or resumed):
        click.echo("Nothing to restart.", err=True)
    print_resume_hint(left)


def _set_held(settings: Settings, run: str, held: bool) -> None:
    from mg_tui.runs import queue as queues
    from mg_tui.runs.store import find_run

    folder = find_run(settings.home, run)
    queues.set_held(folder, held)
    click.echo(f"{'held' if held else 'released'}: {printable(folder.id)}", err=True)


def _queue_lines(found: list[dict[str, Any]]) -> list[str]:
    width = max((len(entry["id"]) for entry in found), default=0)
    return [
        f"{entry['position']:>3}  {printable(entry['id']):<{width}}  {entry['gpus']:<5}  {_waiting_reason(entry)}"
        for entry in found
    ]


def _waiting_reason(entry: dict[str, Any]) -> str:
    if entry["held"]:
        return "held"
    if not entry["waiting_process"]:
        return "its waiter process died; restart it with `model-garden runs wake`"
    return one_line(str(entry["waits_for"] or "about to start"), limit=200)
