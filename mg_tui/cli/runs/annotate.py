"""`model-garden runs rename`, `note` and `tag`."""

import click

from mg_tui.cli.runs.common import RUN_ARGUMENT
from mg_tui.config import Settings
from mg_tui.core.errors import UsageError
from mg_tui.core.text import printable


@click.command()
@RUN_ARGUMENT
@click.argument("name")
@click.pass_obj
def rename(settings: Settings, run: str, name: str) -> None:
    """Give a run another name; its id stays. An empty NAME brings back the one of its start."""
    from mg_tui.runs import annotations
    from mg_tui.runs.store import find_run

    folder = find_run(settings.home, run)
    given = annotations.rename(folder, name).name
    said = f"is now called {given}" if given else "has the name of its start again"
    click.echo(f"{printable(folder.id)} {said}", err=True)


@click.command()
@RUN_ARGUMENT
@click.argument("text", required=False)
@click.option("--edit", is_flag=True, help="Write the note in $EDITOR.")
@click.pass_obj
def note(settings: Settings, run: str, text: str | None, edit: bool) -> None:
    """Write a note on a run, or print the one it has. An empty TEXT removes it."""
    from mg_tui.runs import annotations
    from mg_tui.runs.store import find_run

    if edit and text is not None:
        raise UsageError("TEXT and --edit cannot be combined.")
    folder = find_run(settings.home, run)
    before = annotations.read_annotations(folder).note
    if edit:
        text = click.edit(before, require_save=True)
        if text is None:
            click.echo("note unchanged", err=True)
            return
    if text is None:
        click.echo(before) if before else click.echo(f"{printable(folder.id)} has no note", err=True)
        return
    written = annotations.set_note(folder, text).note
    click.echo(f"{printable(folder.id)} {'has the note' if written else 'has no note now'}", err=True)


@click.command()
@RUN_ARGUMENT
@click.argument("tags", metavar="TAG...", nargs=-1, required=True)
@click.option("--remove", is_flag=True, help="Take the tags away instead.")
@click.pass_obj
def tag(settings: Settings, run: str, tags: tuple[str, ...], remove: bool) -> None:
    """Add tags to a run, or take them away with --remove. `runs list --filter '#TAG'` finds them."""
    from mg_tui.runs import annotations
    from mg_tui.runs.store import find_run

    folder = find_run(settings.home, run)
    written = annotations.change_tags(folder, **{"remove" if remove else "add": tags}).tags
    listed = " ".join(f"#{item}" for item in written) or "no tags"
    click.echo(f"{printable(folder.id)} has {listed}", err=True)
