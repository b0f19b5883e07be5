"""`model-garden runs watch` and `replay`: follow a run, live or from its journal."""

import click

from mg_tui.cli.runs.common import RUN_ARGUMENT
from mg_tui.config import Settings


@click.command()
@RUN_ARGUMENT
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


@click.command()
@RUN_ARGUMENT
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

    recording = Replay(find_run(settings.home, run), speed, longest_pause=longest_pause)
    if not as_json:
        play_replay(recording)
        return
    for events in recording.play():
        for event in events:
            click.echo(event.to_line(), nl=False)
