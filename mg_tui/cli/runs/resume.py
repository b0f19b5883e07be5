"""`model-garden runs resume` and `rerun`."""

import contextlib
from pathlib import Path
from typing import Any

import click

from mg_tui.cli.launch import detach_or_follow, launch_options, parse_gpus, start_or_queue
from mg_tui.cli.runs.common import RUN_ARGUMENT
from mg_tui.cli.server import refuse_with_server, server_of
from mg_tui.cli.spec_flags import SpecCommand, explicit_values, spec_flags
from mg_tui.config import Settings
from mg_tui.core.paths import expand_user
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.cost import RESUMED_MAX_COST_HELP


@click.command()
@RUN_ARGUMENT
@click.option("--from-start", is_flag=True, help="Restart from step 0 if there is no checkpoint.")
@click.option(
    "--from",
    "at",
    metavar="best|STEP",
    help="Resume from an earlier checkpoint; later ones are deleted. [default: latest]",
)
@click.option("--accept-spec", is_flag=True, help="Resume with a spec.json that was changed since the run's creation.")
@click.option("--output-dir", metavar="FOLDER", help="Save the result there instead of where the run was to save it.")
@click.option(
    "--max-cost",
    type=click.FloatRange(min=0, min_open=True),
    metavar="AMOUNT",
    help=RESUMED_MAX_COST_HELP,
)
@click.option("--processes", type=click.IntRange(1, 256), help="Training processes from now on, one a GPU.")
@launch_options
@click.pass_context
def resume(
    ctx: click.Context,
    run: str,
    from_start: bool,
    at: str | None,
    accept_spec: bool,
    output_dir: str | None,
    max_cost: float | None,
    processes: int | None,
    gpus: str | None,
    queue: bool,
    follow: bool | None,
) -> None:
    """Resume a stopped, interrupted, failed or crashed run from its latest valid checkpoint.

    The run keeps its id, folder, journal and curves, and its examples per step on any number of processes.
    """
    from mg_tui.runs.control import requester
    from mg_tui.runs.resume import commit_resume_target, find_resume_target
    from mg_tui.runs.store import find_run

    if server_of(ctx.obj) is not None:
        from mg_tui.cli.server_jobs import resume_there

        if accept_spec or output_dir:
            flag = "--accept-spec" if accept_spec else "--output-dir"
            raise refuse_with_server(flag, "files of the server are not changed from here")
        folder = find_run(ctx.obj.home, run)
        ctx.exit(
            resume_there(
                folder,
                at=at,
                from_start=from_start,
                gpus=gpus,
                processes=processes,
                max_cost=max_cost,
                queue=queue,
                follow=bool(follow),
            )
        )
    devices = parse_gpus(gpus)
    target = find_resume_target(
        find_run(ctx.obj.home, run),
        from_start=from_start,
        at=at,
        accept_spec=accept_spec,
        output_dir=(Path.cwd() / expand_user(output_dir)).absolute() if output_dir else None,
        max_cost=max_cost,
    )

    def prepare() -> None:
        commit_resume_target(target, accept_spec=accept_spec, by=requester("cli"))

    start_or_queue(target.folder, gpus=devices, queue=queue, processes=processes, prepare=prepare)
    click.echo(f"run      {target.folder.id}\nresumes  {target.summary}", err=True)
    ctx.exit(detach_or_follow(target.folder, detach=follow is False, attempts=target.attempts, queued=queue))


@spec_flags(TrainingSpec)
@click.command(cls=SpecCommand)
@RUN_ARGUMENT
@click.option("--check-only", is_flag=True, help="Check options, model and data without starting a run.")
@launch_options
@click.pass_context
def rerun(
    ctx: click.Context, /, run: str, check_only: bool, gpus: str | None, queue: bool, follow: bool | None, **values: Any
) -> None:
    """Start a new run from an existing run's spec; options given here override it.

    If the output folder already holds a result, set another one with --output-dir.
    """
    from mg_tui.cli.train import start_and_follow
    from mg_tui.runs.operations import rerun_spec
    from mg_tui.runs.store import find_run

    settings: Settings = ctx.obj
    if (garden := server_of(settings)) is not None:
        from mg_tui.cli.server_jobs import rerun_there

        folder, given = find_run(settings.home, run), explicit_values(values)
        ctx.exit(rerun_there(garden, folder, given, gpus=gpus, follow=bool(follow), check_only=check_only))
    request = rerun_spec(find_run(settings.home, run), explicit_values(values), cwd=Path.cwd())
    with contextlib.chdir(request.cwd):
        code = start_and_follow(
            request.spec, settings, detach=follow is False, check_only=check_only, gpus=gpus, queue=queue
        )
    ctx.exit(code)
