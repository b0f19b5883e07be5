"""`model-garden sweeps`: list, show, follow, resume, stop and remove sweeps."""

from typing import Final

import click

from mg_tui.cli.lazy import LazyCommand, LazyGroup
from mg_tui.cli.runs.common import JSON_OPTION

COMMANDS: Final[dict[str, LazyCommand]] = {
    "list": LazyCommand("mg_tui.cli.sweeps.show", "list_", "List all sweeps."),
    "show": LazyCommand("mg_tui.cli.sweeps.show", "show", "Show a sweep: table, chart, and which run is the best."),
    "watch": LazyCommand("mg_tui.cli.sweeps.control", "watch", "Follow a sweep until it is over."),
    "resume": LazyCommand("mg_tui.cli.sweeps.control", "resume", "Continue a sweep that was stopped or killed."),
    "stop": LazyCommand("mg_tui.cli.sweeps.control", "stop", "Stop a sweep; its runs save checkpoints."),
    "rm": LazyCommand("mg_tui.cli.sweeps.control", "rm", "Remove a sweep, and with --with-runs its runs."),
}


@click.group("sweeps", cls=LazyGroup, lazy_commands=COMMANDS, invoke_without_command=True)
@JSON_OPTION
@click.pass_context
def sweeps(ctx: click.Context, as_json: bool) -> None:
    """List, show, follow, resume, stop and remove sweeps.

    NAME is a sweep's name, or "last" for the newest. Without a command, lists all sweeps.
    """
    if ctx.invoked_subcommand not in ("stop", "rm"):
        from mg_tui.cli.launch import wake_queue

        wake_queue(ctx.obj.home, resume=ctx.obj.resume_interrupted)
    if ctx.invoked_subcommand is None:
        from mg_tui.cli.sweeps.show import list_

        ctx.invoke(list_, as_json=as_json)
