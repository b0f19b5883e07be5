"""`model-garden runs rm`, `restore` and `trash`."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mg_tui.cli.runs.common import JSON_OPTION, RUNS_ARGUMENT, print_json
from mg_tui.cli.server import refuse_with_server, server_of
from mg_tui.cli.tables import format_table, terminal_width
from mg_tui.config import Settings
from mg_tui.core.errors import UsageError
from mg_tui.core.program import runnable
from mg_tui.core.text import pluralize, printable

if TYPE_CHECKING:
    from mg_tui.runs.folder import RunFolder

YES_OPTION = click.option("--yes", "-y", is_flag=True, help="Skip the confirmation.")


@click.command()
@RUNS_ARGUMENT
@YES_OPTION
@click.option("--permanently", is_flag=True, help="Delete at once instead of moving to the trash.")
@click.pass_obj
def rm(settings: Settings, run: tuple[str, ...], yes: bool, permanently: bool) -> None:
    """Move runs with their checkpoints and results to the trash. Running runs cannot be removed.

    `model-garden runs restore` brings them back within 14 days.
    """
    from mg_tui.runs.remove import remove_run
    from mg_tui.runs.store import find_run

    folders = list(dict.fromkeys(find_run(settings.home, ref) for ref in run))
    if not yes:
        confirm(f"{'delete' if permanently else 'remove'} {', '.join(folder.id for folder in folders)}?")
    for folder in folders:
        remove_run(folder, permanently=permanently)
        hint = "" if permanently else runnable(f"; `model-garden runs restore {folder.id}` brings it back")
        click.echo(f"{'deleted' if permanently else 'removed'} {printable(folder.id)}{printable(hint)}", err=True)


@click.command()
@click.argument("run", metavar="ID...", nargs=-1, required=True)
@click.pass_obj
def restore(settings: Settings, run: tuple[str, ...]) -> None:
    """Bring removed runs back. ID is that of a run in the trash, or "last" for the run removed last."""
    from mg_tui.runs.trash import find_removed, restore_run

    for ref in run:
        folder = restore_run(settings.home, find_removed(settings.home, ref))
        click.echo(f"restored {printable(folder.id)}", err=True)


@click.command("trash")
@click.option("--empty", is_flag=True, help="Delete every run in the trash.")
@YES_OPTION
@JSON_OPTION
@click.pass_obj
def trash(settings: Settings, empty: bool, yes: bool, as_json: bool) -> None:
    """List removed runs, or delete them with --empty. Each is deleted 14 days after its removal."""
    from mg_tui.runs.trash import empty_expired, empty_trash, list_trash

    empty_expired(settings.home)
    runs = list_trash(settings.home)
    if empty and server_of(settings) is not None:
        raise refuse_with_server("--empty", "it deletes what others removed; empty the trash on that machine")
    if empty:
        if runs and not yes:
            confirm(f"delete {len(runs)} removed run{'' if len(runs) == 1 else 's'} for good?")
        for run in empty_trash(settings.home):
            click.echo(f"deleted {printable(run.id)}", err=True)
    elif as_json:
        print_json([{"id": run.id, "path": str(run.path), "removed_at": run.removed_at} for run in runs])
    elif not runs:
        click.echo("The trash is empty.", err=True)
    else:
        rows = []
        for run in runs:
            days = max(int((run.deleted_at - time.time()) // 86400), 0)
            removed = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.removed_at))
            rows.append((printable(run.id), removed, f"in {pluralize(days, 'day')}"))
        for line in format_table(("id", "removed", "deleted"), rows, width=terminal_width()):
            click.echo(line)


def delete_folders(settings: Settings, refs: Sequence[str], kind: "type[RunFolder]", *, yes: bool) -> None:
    """Delete folders like those of runs, each named by id, name or `last`, after a confirmation unless `yes`."""
    from mg_tui.runs.remove import remove_run
    from mg_tui.runs.store import find_run

    folders = list(dict.fromkeys(find_run(settings.home, ref, kind) for ref in refs))
    if not yes:
        confirm(f"delete {', '.join(folder.id for folder in folders)}?")
    for folder in folders:
        remove_run(folder, permanently=True)
        click.echo(f"deleted {printable(folder.id)}", err=True)


def confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("Cannot ask for confirmation without a terminal.", hint="add --yes")
    click.confirm(printable(question), default=False, abort=True, err=True)
