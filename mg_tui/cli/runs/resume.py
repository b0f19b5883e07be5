"""`model-garden runs resume`, `rerun` and `replay`: a run gone on with, done again, or looked at again."""

import contextlib
from pathlib import Path
from typing import Any

import click

from mg_tui.cli.launch import detach_or_follow, launch_options, parse_gpus, start_or_queue
from mg_tui.cli.spec_flags import SpecCommand, explicit_values, spec_flags
from mg_tui.config import Settings
from mg_tui.core.spec import TrainingSpec

_RUN_ARGUMENT = click.argument("run", metavar="ID")


@click.command()
@_RUN_ARGUMENT
@click.option("--from-start", is_flag=True, help="Restart from step 0 if there is no checkpoint.")
@click.option(
    "--from",
    "at",
    metavar="best|STEP",
    help="Resume from an earlier checkpoint; later ones are deleted. [default: latest]",
)
@launch_options
@click.pass_context
def resume(
    ctx: click.Context, run: str, from_start: bool, at: str | None, gpus: str | None, queue: bool, detach: bool
) -> None:
    """Resume a stopped, interrupted, failed or crashed run from its latest valid checkpoint.

    The run keeps its id, folder, journal and curves.
    """
    from mg_tui.runs.resume import find_resume_target, write_resume_target
    from mg_tui.runs.store import find_run

    asked = parse_gpus(gpus)
    found = find_resume_target(find_run(ctx.obj.home, run), from_start=from_start, at=at)
    write_resume_target(found.folder, found)
    start_or_queue(found.folder, gpus=asked, queue=queue)
    click.echo(f"run      {found.folder.id}\nresumes  {found.summary}", err=True)
    ctx.exit(detach_or_follow(found.folder, detach=detach, attempts=found.attempts, queued=queue))


@spec_flags(TrainingSpec)
@click.command(cls=SpecCommand)
@_RUN_ARGUMENT
@click.option("--check-only", is_flag=True, help="Check options, model and data without starting a run.")
@launch_options
@click.pass_context
def rerun(
    ctx: click.Context, /, run: str, check_only: bool, gpus: str | None, queue: bool, detach: bool, **values: Any
) -> None:
    """Start a new run from an existing run's spec; options given here override it.

    If the output folder already holds a result, set another one with --output-dir.
    """
    from mg_tui.cli.train import start_and_follow
    from mg_tui.runs.operations import rerun_spec
    from mg_tui.runs.store import find_run

    settings: Settings = ctx.obj
    again = rerun_spec(find_run(settings.home, run), explicit_values(values), cwd=Path.cwd())
    with contextlib.chdir(again.cwd):
        code = start_and_follow(again.spec, settings, detach=detach, check_only=check_only, gpus=gpus, queue=queue)
    ctx.exit(code)


@click.command()
@_RUN_ARGUMENT
@click.option(
    "--speed", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True, help="Playback speed."
)
@click.option(
    "--longest-pause",
    type=click.FloatRange(min=0),
    default=3.0,
    show_default=True,
    help="Maximum pause between two events, in seconds.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the journal's events as JSON lines.")
@click.pass_obj
def replay(settings: Settings, run: str, speed: float, longest_pause: float, as_json: bool) -> None:
    """Replay a run's journal at SPEED times real time."""
    from mg_tui.cli.follow import play_replay
    from mg_tui.runs.replay import Replay
    from mg_tui.runs.store import find_run

    played = Replay(find_run(settings.home, run), speed, longest_pause=longest_pause)
    if not as_json:
        play_replay(played)
        return
    for events in played.play():
        for event in events:
            click.echo(event.to_line(), nl=False)
