"""`model-garden runs fetch`: a run that was copied away, on this machine or another one."""

import click

from mg_tui.config import Settings
from mg_tui.core.program import runnable
from mg_tui.core.text import printable


@click.command()
@click.argument("source", metavar="SRC")
@click.pass_obj
def fetch(settings: Settings, source: str) -> None:
    """Bring back a run that was copied away with --sync, to resume it here.

    SRC is the destination of --sync, with the run's id where several runs were copied there. A fetch that was cut is
    resumed by running it again. The data has to be where the run expects it.
    """
    from mg_tui.watching.fetching import fetch_run

    folder = fetch_run(source, settings.home)
    click.echo(folder.id)
    click.echo(runnable(f"resume with: model-garden runs resume {printable(folder.id)}"), err=True)
