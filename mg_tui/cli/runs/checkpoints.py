"""`model-garden runs checkpoints`: list a run's checkpoints, or delete one."""

from dataclasses import asdict

import click

from mg_tui.cli.runs.common import JSON_OPTION, RUN_ARGUMENT, print_json
from mg_tui.cli.runs.trash import YES_OPTION, confirm
from mg_tui.config import Settings
from mg_tui.core.text import printable


@click.command()
@RUN_ARGUMENT
@click.option("--delete", type=click.IntRange(min=0), metavar="STEP", help="Delete the checkpoint of this step.")
@YES_OPTION
@JSON_OPTION
@click.pass_obj
def checkpoints(settings: Settings, run: str, delete: int | None, yes: bool, as_json: bool) -> None:
    """List a run's checkpoints, or delete one with --delete.

    A checkpoint is a model: `model-garden chat RUN@STEP`, `generate-vision RUN@STEP`, `evaluate-vision RUN@STEP`;
    `runs resume RUN --from STEP` resumes from it.
    """
    from mg_tui.cli.runs.summary import format_checkpoint
    from mg_tui.runs.control import requester
    from mg_tui.runs.remove import remove_checkpoint
    from mg_tui.runs.store import find_run, summarize_run

    folder = find_run(settings.home, run)
    if delete is not None:
        if not yes:
            confirm(f"delete the checkpoint at step {delete} of {folder.id} for good?")
        click.echo(f"deleted {printable(str(remove_checkpoint(folder, delete, requester('cli'))))}", err=True)
        return
    view = summarize_run(folder).view
    if as_json:
        print_json([asdict(saved) for saved in view.checkpoints])
    elif not view.checkpoints:
        click.echo(f"{printable(folder.id)} has no checkpoint", err=True)
    else:
        for saved in view.checkpoints:
            click.echo(format_checkpoint(saved, best=saved == view.best).removeprefix("saved").strip())
