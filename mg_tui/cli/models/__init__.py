"""`model-garden models`: list, delete and restore results of runs and merges."""

from typing import Final

import click

from mg_tui.cli.lazy import LazyCommand, LazyGroup
from mg_tui.cli.runs.common import JSON_OPTION

COMMANDS: Final[dict[str, LazyCommand]] = {
    "list": LazyCommand("mg_tui.cli.models.show", "list_", "List results with the scores of their evaluations."),
    "rm": LazyCommand("mg_tui.cli.models.trash", "rm", "Move results to the trash."),
    "restore": LazyCommand("mg_tui.cli.models.trash", "restore", "Bring deleted results back."),
    "trash": LazyCommand("mg_tui.cli.models.trash", "trash", "List deleted results, or delete them for good."),
}


@click.group("models", cls=LazyGroup, lazy_commands=COMMANDS, invoke_without_command=True)
@JSON_OPTION
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List, delete and restore results of runs and merges. Without a command, lists them."""
    if ctx.invoked_subcommand is None:
        from mg_tui.cli.models.show import list_

        ctx.invoke(list_, as_json=as_json)
