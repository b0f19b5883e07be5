"""`model-garden servers`: the servers of this home, as `runs` has the runs."""

import time

import click

from mg_tui.cli.runs.common import print_json, print_log_line, stop_all
from mg_tui.config import Settings
from mg_tui.core.program import runnable

_JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_ID_ARGUMENT = click.argument("server", metavar="ID")


@click.group(invoke_without_command=True)
@click.option("--all", "with_ended", is_flag=True, help="Also those that have ended.")
@_JSON_OPTION
@click.pass_context
def servers(ctx: click.Context, with_ended: bool, as_json: bool) -> None:
    """List, show, follow, stop and delete servers.

    ID is a server's id, a unique prefix or suffix of it, a path, or "last". Without a command, lists running servers.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_, with_ended=with_ended, as_json=as_json)


@servers.command("list")
@click.option("--all", "with_ended", is_flag=True, help="Also those that have ended.")
@_JSON_OPTION
@click.pass_obj
def list_(settings: Settings, with_ended: bool, as_json: bool) -> None:
    """List running servers, newest first."""
    from mg_tui.cli.servers.summary import format_servers
    from mg_tui.cli.tables import terminal_width
    from mg_tui.runs.servers import ServerFolder, running_servers, server_record
    from mg_tui.runs.store import list_runs

    found, now = list_runs(settings.home, ServerFolder) if with_ended else running_servers(settings.home), time.time()
    if as_json:
        print_json([server_record(server, now) for server in found])
        return
    if not found:
        click.echo(runnable("No servers; start one with `model-garden serve MODEL`."), err=True)
        return
    for line in format_servers(found, now, width=terminal_width()):
        click.echo(line)


@servers.command()
@_ID_ARGUMENT
@_JSON_OPTION
@click.pass_obj
def show(settings: Settings, server: str, as_json: bool) -> None:
    """Show a server: address, models, requests, latency, and whether its models answer as trained."""
    from mg_tui.cli.servers.summary import format_server_page
    from mg_tui.runs.servers import ServerFolder, server_record
    from mg_tui.runs.store import find_run, summarize_run

    summary, now = summarize_run(find_run(settings.home, server, ServerFolder)), time.time()
    if as_json:
        print_json({**server_record(summary, now), "spec": dict(summary.spec), "error": dict(summary.view.error)})
        return
    for line in format_server_page(summary, now):
        click.echo(line)


@servers.command()
@_ID_ARGUMENT
@click.option("-n", "--lines", type=click.IntRange(min=0), default=50, show_default=True, help="Number of lines.")
@click.pass_obj
def logs(settings: Settings, server: str, lines: int) -> None:
    """Show the server's log, and that of the program that answers."""
    from mg_tui.runs.servers import ServerFolder
    from mg_tui.runs.store import find_run
    from mg_tui.runs.worker_log import read_tail

    folder = find_run(settings.home, server, ServerFolder)
    for file in sorted(folder.path.glob("*.log")):
        for line in read_tail(file, lines):
            print_log_line(line)


@servers.command()
@_ID_ARGUMENT
@click.pass_context
def watch(ctx: click.Context, server: str) -> None:
    """Follow a server until it ends. Ctrl+c asks whether to stop it or detach."""
    from mg_tui.cli.follow import exit_code_of, follow_run
    from mg_tui.cli.servers.display import ServerStyle
    from mg_tui.runs.servers import ServerFolder
    from mg_tui.runs.store import find_run

    folder = find_run(ctx.obj.home, server, ServerFolder)
    ctx.exit(exit_code_of(follow_run(folder, ServerStyle()), folder))


@servers.command()
@click.argument("server", metavar="ID...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Stop all running servers.")
@_JSON_OPTION
@click.pass_obj
def stop(settings: Settings, server: tuple[str, ...], every: bool, as_json: bool) -> None:
    """Stop servers. Requests under way are cut off."""
    from mg_tui.runs.servers import ServerFolder, running_servers
    from mg_tui.runs.store import find_run

    if every == bool(server):
        raise click.UsageError("name servers, or use --all")
    folders = (
        [running.folder for running in running_servers(settings.home)]
        if every
        else [find_run(settings.home, ref, ServerFolder) for ref in server]
    )
    stop_all(folders, as_json=as_json)


@servers.command()
@click.argument("server", metavar="ID...", nargs=-1, required=True)
@click.option("--yes", "-y", is_flag=True, help="Skip the confirmation.")
@click.pass_obj
def rm(settings: Settings, server: tuple[str, ...], yes: bool) -> None:
    """Delete the records of servers that have ended."""
    from mg_tui.cli.runs.trash import delete_folders
    from mg_tui.runs.servers import ServerFolder

    delete_folders(settings, server, ServerFolder, yes=yes)
