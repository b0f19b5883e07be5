"""`model-garden runs`: the runs of this home, without the dashboard."""

import importlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

from mg_tui.config import Settings
from mg_tui.core.errors import UsageError
from mg_tui.core.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mg_tui.runs.folder import RunFolder
    from mg_tui.runs.operations import RequestResult
    from mg_tui.runs.store import RunSummary

_JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_RUN_ARGUMENT = click.argument("run", metavar="ID")


# Commands that live elsewhere and are imported when they are called, with their line in the help.
_LAZY_COMMANDS: Final = {
    "resume": ("mg_tui.cli.runs.resume", "Resume a stopped, interrupted, failed or crashed run."),
    "rerun": ("mg_tui.cli.runs.resume", "Start a new run from an existing run's spec."),
    "replay": ("mg_tui.cli.runs.resume", "Replay a run's journal."),
    "queue": ("mg_tui.cli.runs.queue", "List queued runs."),
    "hold": ("mg_tui.cli.runs.queue", "Put a queued run on hold."),
    "release": ("mg_tui.cli.runs.queue", "Release a held run."),
    "move": ("mg_tui.cli.runs.queue", "Change a run's queue position."),
    "wake": ("mg_tui.cli.runs.queue", "Restart the queue, e.g. after a reboot."),
}


class _RunsGroup(click.Group):
    """The group; what lives elsewhere is imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands, *_LAZY_COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _LAZY_COMMANDS:
            return super().get_command(ctx, cmd_name)
        command = getattr(importlib.import_module(_LAZY_COMMANDS[cmd_name][0]), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = [(name, command.get_short_help_str(80)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl([*own, *((name, help_line) for name, (_, help_line) in _LAZY_COMMANDS.items())])


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output; NaN becomes a string."""
    from mg_tui.core.events import json_safe

    click.echo(json.dumps(json_safe(value), ensure_ascii=False, indent=2, allow_nan=False))


@click.group(cls=_RunsGroup, invoke_without_command=True)
@_JSON_OPTION
@click.pass_context
def runs(ctx: click.Context, as_json: bool) -> None:
    """List, show, follow, stop, resume and queue runs.

    ID is a run id, a unique prefix or suffix of it, a name, a path, or "last". Without a command, lists all runs.
    """
    if ctx.invoked_subcommand not in ("wake", "logs", "rm"):
        from mg_tui.cli.launch import wake_queue

        wake_queue(ctx.obj.home, resume=ctx.obj.resume_interrupted)
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_, as_json=as_json)


@runs.command("list")
@_JSON_OPTION
@click.pass_obj
def list_(settings: Settings, as_json: bool) -> None:
    """List all runs, newest first."""
    from mg_tui.cli.runs.summary import format_table
    from mg_tui.runs.store import list_runs

    found, now = list_runs(settings.home), time.time()
    if as_json:
        print_json([run.as_dict(now, settings.cost) for run in found])
        return
    if not found:
        click.echo("No runs yet; start one with `model-garden train-vision` or `model-garden demo`.", err=True)
        return
    for line in format_table(found, now, width=_terminal_width()):
        click.echo(line)
    print_resume_hint(found)


@runs.command()
@_RUN_ARGUMENT
@_JSON_OPTION
@click.pass_obj
def show(settings: Settings, run: str, as_json: bool) -> None:
    """Show a run: options, progress, outcome."""
    from mg_tui.cli.runs.summary import format_page, run_record
    from mg_tui.runs.store import find_run, summarize_run

    summary, now = summarize_run(find_run(settings.home, run)), time.time()
    if as_json:
        print_json(run_record(summary, now, settings.cost))
        return
    for line in format_page(summary, now, settings.cost):
        click.echo(line)


@runs.command()
@_RUN_ARGUMENT
@click.option("-f", "--follow", is_flag=True, help="Follow the log until the run ends.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=50, show_default=True, help="Number of lines to show first."
)
@click.pass_obj
def logs(settings: Settings, run: str, follow: bool, lines: int) -> None:
    """Show the worker's log."""
    from mg_tui.runs.store import find_run
    from mg_tui.runs.watch import RunWatch
    from mg_tui.runs.worker_log import LogReader

    folder = find_run(settings.home, run)
    reader, watch = LogReader(folder.log_file), RunWatch(folder)
    for line in reader.last(lines):
        _print_log_line(line)
    while follow:
        watch.refresh()
        over = watch.state.ended  # asked before reading: what was said last is then read too
        for line in reader.new():
            _print_log_line(line)
        if over:
            return
        time.sleep(0.3)


@runs.command()
@_RUN_ARGUMENT
@click.option("--now", is_flag=True, help="Exit immediately, without a checkpoint.")
@_JSON_OPTION
@click.pass_obj
def stop(settings: Settings, run: str, now: bool, as_json: bool) -> None:
    """Stop a run after saving a checkpoint. A second stop exits immediately.

    A queued run is removed from the queue.
    """
    from mg_tui.runs import control, operations
    from mg_tui.runs.store import find_run

    _print_request(
        operations.request_stop(find_run(settings.home, run), control.requester("cli"), now=now), as_json=as_json
    )


@runs.command()
@_RUN_ARGUMENT
@_JSON_OPTION
@click.pass_obj
def checkpoint(settings: Settings, run: str, as_json: bool) -> None:
    """Save a checkpoint now."""
    from mg_tui.runs import control, operations
    from mg_tui.runs.store import find_run

    _print_request(
        operations.request_checkpoint(find_run(settings.home, run), control.requester("cli")), as_json=as_json
    )


@runs.command()
@_RUN_ARGUMENT
@click.option("--json", "as_json", is_flag=True, help="Print the journal's events as JSON lines.")
@click.pass_context
def watch(ctx: click.Context, run: str, as_json: bool) -> None:
    """Follow a run until it ends. Ctrl+c asks whether to stop it or detach."""
    from mg_tui.cli.follow import exit_code_of, follow_run
    from mg_tui.runs.follow import follow
    from mg_tui.runs.store import find_run
    from mg_tui.runs.watch import RunWatch

    folder = find_run(ctx.obj.home, run)
    if not as_json:
        ctx.exit(exit_code_of(follow_run(folder), folder))
    watched = RunWatch(folder, thin=False)
    for events in follow(folder, watch=watched):
        for event in events:
            click.echo(event.to_line(), nl=False)
    ctx.exit(exit_code_of(watched.state, folder))


@runs.command()
@click.argument("run", metavar="ID...", nargs=-1, required=True)
@click.option("--yes", "-y", is_flag=True, help="Skip the confirmation.")
@click.pass_obj
def rm(settings: Settings, run: tuple[str, ...], yes: bool) -> None:
    """Delete runs with their checkpoints and results. Running runs cannot be deleted."""
    from mg_tui.runs.remove import remove_run
    from mg_tui.runs.store import find_run

    folders = list(dict.fromkeys(find_run(settings.home, ref) for ref in run))
    if not yes:
        _confirm(f"remove {', '.join(folder.id for folder in folders)}?")
    for folder in folders:
        remove_run(folder)
        click.echo(f"removed {printable(folder.id)}", err=True)


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("Cannot ask for confirmation without a terminal.", hint="add --yes")
    click.confirm(printable(question), default=False, abort=True, err=True)


def print_resume_hint(found: "Sequence[RunSummary]") -> None:
    """Say how interrupted runs are gone on with."""
    from mg_tui.runs.state import RunState

    ids = [printable(run.id) for run in found if run.state is RunState.INTERRUPTED]
    if ids:
        click.echo(
            f"{len(ids)} interrupted by a restart; resume with `model-garden runs resume {ids[0]}`, or resume all "
            "with `model-garden runs wake --resume`",
            err=True,
        )


def _print_request(asked: "RequestResult", *, as_json: bool) -> None:
    if as_json:
        print_json({"id": asked.folder.id, "request": asked.request, "seen": asked.acknowledged})
    elif asked.queued:
        click.echo(
            "removed from the queue" if asked.acknowledged else "requested; no response from its waiter process yet",
            err=True,
        )
    else:
        said = "acknowledged" if asked.acknowledged else _pending_message(asked.folder)
        click.echo(f"{asked.request.replace('_', ' ')}: {said}", err=True)


def _pending_message(folder: "RunFolder") -> str:
    from mg_tui.runs.watch import RunWatch

    watched = RunWatch(folder)
    watched.refresh()
    doing = printable(watched.view.phase or "busy", limit=40)
    return f"requested; not acknowledged yet ({doing}, process {watched.view.pid})"


def _print_log_line(line: str) -> None:
    from mg_tui.runs.worker_log import strip_terminal_codes

    click.echo(printable(strip_terminal_codes(line)) if sys.stdout.isatty() else line)


def _terminal_width() -> int | None:
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
