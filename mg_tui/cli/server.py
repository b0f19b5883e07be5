"""`model-garden --server URL`: which commands work on a server's runs, and connecting to it."""

import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mg_tui.config import Settings
from mg_tui.core import program
from mg_tui.core.errors import UsageError
from mg_tui.core.text import printable

if TYPE_CHECKING:
    from mg_tui.remote.garden import RemoteGarden
    from mg_tui.remote.status import ConnectionStatus

COMMANDS: Final = ("runs", "train-vision", "datasets", "evaluations")  # and the dashboard
# Subcommands that need the machine itself.
LOCAL_ONLY: Final = frozenset({"fetch", "wake", "convert", "split", "sample", "concat", "create"})


def use_server(ctx: click.Context, settings: Settings, url: str, token_file: Path | None) -> Settings:
    """Connect to a server; the settings with the home that has copies of its runs.

    Raises:
        GardenError: the command does not work there, or the server cannot be used.
    """
    command = ctx.invoked_subcommand
    if command is not None and command not in COMMANDS:
        raise _works_here_only(command)
    if settings.origins.get("paths.home") == "--home":
        raise UsageError("--home and --server cannot be combined.", hint="the server has a home of its own")
    from mg_tui.remote.garden import RemoteGarden

    garden = RemoteGarden.open(url, settings.cache, token_file=token_file, setting=settings.server.get("token_file"))
    ctx.call_on_close(garden.close)
    program.set_server(garden.address)
    ctx.call_on_close(lambda: program.set_server(None))
    if command is not None:
        garden.on_status = _print_status
    return replace(settings, home=garden.home, runs={**settings.runs, "resume_interrupted": False})


def server_of(settings: Settings) -> "RemoteGarden | None":
    """The server that the command was given, if any."""
    from mg_tui.runs.elsewhere import elsewhere_at

    there = elsewhere_at(settings.home)
    if there is None:
        return None
    from mg_tui.remote.garden import RemoteGarden

    assert isinstance(there, RemoteGarden)
    return there


def require_for_server(settings: Settings, ctx: click.Context, only: Collection[str] | None = None) -> None:
    """Refuse a subcommand that needs the machine itself when it is given a server. `only`: those that work.

    Raises:
        UsageError: it is one.
    """
    name = ctx.invoked_subcommand
    is_local = name in LOCAL_ONLY if only is None else name is not None and name not in only
    if is_local and server_of(settings) is not None:
        raise _works_here_only(f"{ctx.info_name} {ctx.invoked_subcommand}")


def refuse_with_server(flag: str, why: str) -> UsageError:
    """The error for a flag that has no meaning for a server."""
    return UsageError(f"{flag} does not work with --server.", why=why)


def _works_here_only(command: str) -> UsageError:
    return UsageError(
        f"`{command}` does not work with --server.",
        why="it needs the machine itself",
        hint=f"run it there; with --server work {', '.join(COMMANDS)} and, without a command, the dashboard",
    )


def _print_status(status: "ConnectionStatus") -> None:
    """A line when the server is lost, and when it is back."""
    click.echo(printable(status.describe(time.time())), err=True)
