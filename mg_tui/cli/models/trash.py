"""`model-garden models rm`, `restore` and `trash`."""

import time
from pathlib import Path

import click

from mg_tui.cli.runs.common import JSON_OPTION, print_json
from mg_tui.cli.runs.trash import YES_OPTION, confirm
from mg_tui.cli.tables import format_table, terminal_width
from mg_tui.config import Settings
from mg_tui.core.errors import GardenError, UsageError
from mg_tui.core.paths import expand_user
from mg_tui.core.program import runnable
from mg_tui.core.text import one_line, pluralize, printable


@click.command()
@click.argument("model", metavar="MODEL...", nargs=-1, required=True)
@YES_OPTION
@click.option("--permanently", is_flag=True, help="Delete at once instead of moving to the trash.")
@click.pass_obj
def rm(settings: Settings, model: tuple[str, ...], yes: bool, permanently: bool) -> None:
    """Move results to the trash. MODEL is a result's folder, or the run that made it (ID, name or "last").

    The run keeps its journal and checkpoints. `model-garden models restore` brings a result back within 14 days.
    """
    from mg_tui.runs.model_trash import remove_model

    folders = list(dict.fromkeys(_result_folder(settings.home, ref) for ref in model))
    if not yes:
        confirm(f"{'delete' if permanently else 'remove'} {', '.join(map(str, folders))}?")
    for folder in folders:
        remove_model(settings.home, folder, permanently=permanently)
        hint = "" if permanently else runnable("; `model-garden models restore last` brings it back")
        click.echo(f"{'deleted' if permanently else 'removed'} {printable(str(folder))}{printable(hint)}", err=True)


def _result_folder(home: Path, ref: str) -> Path:
    from mg_tui.runs.result_metadata import METADATA_FILE
    from mg_tui.runs.store import find_run

    path = expand_user(ref).absolute()
    if (path / METADATA_FILE).is_file():
        return path
    try:
        folder = find_run(home, ref).result_dir
    except GardenError:
        raise UsageError(
            f"No model {ref!r}.", why=f"it is neither a folder with {METADATA_FILE} nor a run", hint="see `models list`"
        ) from None
    if not (folder / METADATA_FILE).is_file():
        raise UsageError(f"Run {ref} has no result.", where=str(folder))
    return folder


@click.command()
@click.argument("model", metavar="MODEL...", nargs=-1, required=True)
@click.pass_obj
def restore(settings: Settings, model: tuple[str, ...]) -> None:
    """Bring deleted results back to where they were. MODEL is a name or a folder in `models trash`, or "last"."""
    from mg_tui.runs.model_trash import find_removed, restore_model

    for ref in model:
        folder = restore_model(find_removed(settings.home, ref))
        click.echo(f"restored {printable(str(folder))}", err=True)


@click.command("trash")
@click.option("--empty", "empties", is_flag=True, help="Delete every model in the trash.")
@YES_OPTION
@JSON_OPTION
@click.pass_obj
def trash(settings: Settings, empties: bool, yes: bool, as_json: bool) -> None:
    """List deleted results, or delete them for good with --empty. Each is deleted 14 days after its removal."""
    from mg_tui.runs.model_trash import empty, empty_expired, list_removed

    empty_expired(settings.home)
    models = list_removed(settings.home)
    if empties:
        if models and not yes:
            confirm(f"delete {pluralize(len(models), 'removed model')} for good?")
        for model in empty(settings.home):
            click.echo(f"deleted {printable(str(model.origin))}", err=True)
    elif as_json:
        print_json([{"name": m.name, "folder": str(m.origin), "removed_at": m.removed_at} for m in models])
    elif not models:
        click.echo("There are no models in the trash.", err=True)
    else:
        rows = []
        for model in models:
            days = max(int((model.deleted_at - time.time()) // 86400), 0)
            removed = time.strftime("%Y-%m-%d %H:%M", time.localtime(model.removed_at))
            rows.append((one_line(model.name), removed, f"in {pluralize(days, 'day')}", one_line(str(model.origin))))
        for line in format_table(("name", "removed", "deleted", "folder"), rows, width=terminal_width()):
            click.echo(line)
