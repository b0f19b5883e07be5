"""`model-garden sweep watch`, `resume`, `stop` and `rm`."""

import time
from typing import TYPE_CHECKING, Final

import click

from mg_tui.cli.runs.trash import YES_OPTION, confirm
from mg_tui.cli.sweeps.common import NAME_ARGUMENT
from mg_tui.config import Settings
from mg_tui.core.program import runnable
from mg_tui.core.text import pluralize, printable

if TYPE_CHECKING:
    from mg_tui.runs.sweeps.folder import SweepFolder
    from mg_tui.runs.sweeps.operations import StartedSweep
    from mg_tui.runs.sweeps.standing import SweepWatch

_POLL_SECONDS: Final = 0.5


@click.command()
@NAME_ARGUMENT
@click.pass_context
def watch(ctx: click.Context, name: str) -> None:
    """Follow a sweep until it is over. Ctrl+c detaches; the sweep continues."""
    from mg_tui.cli.sweeps.show import print_sweep
    from mg_tui.runs.sweeps.folder import find_sweep

    folder = find_sweep(ctx.obj.home, name)
    code = follow_sweep(folder)
    print_sweep(folder)
    ctx.exit(code)


@click.command()
@NAME_ARGUMENT
@click.option("--failed", is_flag=True, help="Also resume runs that failed.")
@click.option("--detach", is_flag=True, help="Return at once; the sweep continues in the background.")
@click.pass_context
def resume(ctx: click.Context, name: str, failed: bool, detach: bool) -> None:
    """Continue a sweep that was stopped or killed, from the checkpoints of its runs."""
    from mg_tui.cli.sweeps.show import print_sweep
    from mg_tui.runs.sweeps.folder import find_sweep
    from mg_tui.runs.sweeps.operations import resume_sweep

    settings: Settings = ctx.obj
    folder = find_sweep(settings.home, name)
    print_resumed(resume_sweep(folder, settings, failed=failed))
    if not detach:
        code = follow_sweep(folder)
        print_sweep(folder)
        ctx.exit(code)


@click.command()
@NAME_ARGUMENT
@click.pass_obj
def stop(settings: Settings, name: str) -> None:
    """Stop a sweep: running runs save a checkpoint, queued ones leave the queue. `resume` continues it."""
    from mg_tui.runs import control
    from mg_tui.runs.sweeps.folder import find_sweep
    from mg_tui.runs.sweeps.operations import stop_sweep

    folder = find_sweep(settings.home, name)
    stopped = stop_sweep(folder, control.requester("cli"))
    click.echo(f"stopped  {pluralize(len(stopped), 'run')} of {printable(folder.name)}", err=True)
    click.echo(runnable(f"continue with: model-garden sweep resume {folder.name}"), err=True)


@click.command()
@NAME_ARGUMENT
@click.option("--with-runs", is_flag=True, help="Also move its runs to the trash.")
@YES_OPTION
@click.pass_obj
def rm(settings: Settings, name: str, with_runs: bool, yes: bool) -> None:
    """Remove a sweep. Its runs stay, unless --with-runs."""
    from mg_tui.runs.sweeps.folder import find_sweep
    from mg_tui.runs.sweeps.operations import remove_sweep

    folder = find_sweep(settings.home, name)
    if not yes:
        confirm(f"remove sweep {folder.name}{' and its runs' if with_runs else ''}?")
    removed = remove_sweep(folder, with_runs=with_runs)
    click.echo(f"removed {printable(folder.name)} and {pluralize(len(removed), 'run')}", err=True)


def print_resumed(started: "StartedSweep") -> None:
    """What a sweep that is continued does, on standard error."""
    click.echo(f"sweep    {printable(started.folder.name)} continues", err=True)
    for folder in started.resumed:
        click.echo(f"queued   {printable(folder.id)}", err=True)


def follow_sweep(folder: "SweepFolder") -> int:
    """Print a line on standard error whenever the state of a run changes, until the sweep is over or stopped.

    Returns the exit code: 0 when a run finished, 1 when none did; ctrl+c detaches with 130.
    """
    from mg_tui.runs.sweeps.standing import SweepWatch

    watch, said = SweepWatch(folder), dict[int, str]()
    try:
        while True:
            watch.refresh()
            _print_changes(watch, said)
            if watch.state.done or folder.stop_file.exists() or not folder.sweep_file.exists():
                break
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        click.echo(runnable(f"\nit continues; follow with: model-garden sweep watch {folder.name}"), err=True)
        raise click.exceptions.Exit(130) from None
    return 0 if any(standing.view.lifecycle == "finished" for standing in watch.standings) else 1


def _print_changes(watch: "SweepWatch", said: dict[int, str]) -> None:
    from mg_tui.runs.sweeps.combinations import describe_values
    from mg_tui.runs.sweeps.standing import describe_state

    for standing in watch.standings:
        state, number = describe_state(watch, standing).partition(" (")[0], standing.run.number
        if said.get(number) == state:
            continue
        said[number] = state
        score = watch.score(standing)
        ended = score is not None and standing.view.lifecycle in ("finished", "stopped")
        number_text = f"{watch.metric} {score.value:.4g}; " if ended and score is not None else ""
        text = f"run {number}/{len(watch.standings)}  {state}: {number_text}{describe_values(standing.run.values)}"
        click.echo(printable(text), err=True)
