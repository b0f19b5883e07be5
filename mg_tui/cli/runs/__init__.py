"""`model-garden runs`: list, show, follow, stop, resume and queue runs."""

from typing import Final

import click

from mg_tui.cli.lazy import LazyCommand, LazyGroup
from mg_tui.cli.runs.common import JSON_OPTION
from mg_tui.cli.server import require_for_server, server_of

COMMANDS: Final[dict[str, LazyCommand]] = {
    "list": LazyCommand("mg_tui.cli.runs.show", "list_", "List all runs, newest first."),
    "show": LazyCommand("mg_tui.cli.runs.show", "show", "Show a run: options, progress, outcome."),
    "logs": LazyCommand("mg_tui.cli.runs.show", "logs", "Show the worker's log."),
    "rename": LazyCommand("mg_tui.cli.runs.annotate", "rename", "Give a run another name."),
    "note": LazyCommand("mg_tui.cli.runs.annotate", "note", "Write or print a run's note."),
    "tag": LazyCommand("mg_tui.cli.runs.annotate", "tag", "Add or remove a run's tags."),
    "stop": LazyCommand("mg_tui.cli.runs.control", "stop", "Stop a run after saving a checkpoint."),
    "checkpoints": LazyCommand("mg_tui.cli.runs.checkpoints", "checkpoints", "List checkpoints, or delete one."),
    "checkpoint": LazyCommand("mg_tui.cli.runs.control", "checkpoint", "Save a checkpoint now."),
    "watch": LazyCommand("mg_tui.cli.runs.watch", "watch", "Follow a run until it ends."),
    "rm": LazyCommand("mg_tui.cli.runs.trash", "rm", "Move runs to the trash."),
    "restore": LazyCommand("mg_tui.cli.runs.trash", "restore", "Bring removed runs back."),
    "trash": LazyCommand("mg_tui.cli.runs.trash", "trash", "List removed runs, or delete them."),
    "resume": LazyCommand("mg_tui.cli.runs.resume", "resume", "Resume a stopped, interrupted, failed or crashed run."),
    "fetch": LazyCommand("mg_tui.cli.runs.fetch", "fetch", "Bring back a run that was copied away with --sync."),
    "rerun": LazyCommand("mg_tui.cli.runs.resume", "rerun", "Start a new run from an existing run's spec."),
    "replay": LazyCommand("mg_tui.cli.runs.watch", "replay", "Replay a run's journal."),
    "queue": LazyCommand("mg_tui.cli.runs.queue", "queue", "List queued runs."),
    "hold": LazyCommand("mg_tui.cli.runs.queue", "hold", "Put a queued run on hold."),
    "release": LazyCommand("mg_tui.cli.runs.queue", "release", "Release a held run."),
    "move": LazyCommand("mg_tui.cli.runs.queue", "move", "Change a run's queue position."),
    "wake": LazyCommand("mg_tui.cli.runs.queue", "wake", "Restart the queue, e.g. after a reboot."),
}


@click.group("runs", cls=LazyGroup, lazy_commands=COMMANDS, invoke_without_command=True)
@JSON_OPTION
@click.pass_context
def runs(ctx: click.Context, as_json: bool) -> None:
    """List, show, follow, stop, resume and queue runs.

    ID is a run id, a unique prefix or suffix of it, a name, a path, or "last". Without a command, lists all runs.
    """
    require_for_server(ctx.obj, ctx)
    if server_of(ctx.obj) is None and ctx.invoked_subcommand not in (
        "wake",
        "logs",
        "rm",
        "restore",
        "trash",
        "rename",
        "note",
        "tag",
    ):
        from mg_tui.cli.launch import wake_queue

        wake_queue(ctx.obj.home, resume=ctx.obj.resume_interrupted)
    if ctx.invoked_subcommand is None:
        from mg_tui.cli.runs.show import list_

        ctx.invoke(list_, as_json=as_json)
