"""`model-garden jobs`: merges, exports, verifications and pushes, as `runs` has the runs."""

import time

import click

from mg_tui.cli.runs.common import print_json, print_log_line, stop_all
from mg_tui.config import Settings
from mg_tui.core.program import runnable

_JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_ID_ARGUMENT = click.argument("job", metavar="ID")


@click.group(invoke_without_command=True)
@_JSON_OPTION
@click.pass_context
def jobs(ctx: click.Context, as_json: bool) -> None:
    """List, show, follow, stop and delete jobs: merges, exports, verifications and pushes.

    ID is a job's id, a unique prefix or suffix of it, a path, or "last". Without a command, lists them.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_, as_json=as_json)


@jobs.command("list")
@_JSON_OPTION
@click.pass_obj
def list_(settings: Settings, as_json: bool) -> None:
    """List jobs, newest first."""
    from mg_tui.cli.jobs.summary import format_jobs
    from mg_tui.cli.tables import terminal_width
    from mg_tui.runs.model_jobs import ModelJobFolder, job_record
    from mg_tui.runs.store import list_runs

    found, now = list_runs(settings.home, ModelJobFolder), time.time()
    if as_json:
        print_json([job_record(job, now) for job in found])
        return
    if not found:
        click.echo(runnable("No jobs yet; `model-garden merge`, `export`, `verify` and `push` are jobs."), err=True)
        return
    for line in format_jobs(found, now, width=terminal_width()):
        click.echo(line)


@jobs.command()
@_ID_ARGUMENT
@_JSON_OPTION
@click.pass_obj
def show(settings: Settings, job: str, as_json: bool) -> None:
    """Show a job: what was asked, how far it is, and what came of it."""
    from mg_tui.cli.jobs.summary import format_job_page
    from mg_tui.runs.model_jobs import ModelJobFolder, job_record
    from mg_tui.runs.store import find_run, summarize_run

    summary, now = summarize_run(find_run(settings.home, job, ModelJobFolder)), time.time()
    if as_json:
        print_json({**job_record(summary, now), "spec": dict(summary.spec)})
        return
    for line in format_job_page(summary, now):
        click.echo(line)


@jobs.command()
@_ID_ARGUMENT
@click.option("-n", "--lines", type=click.IntRange(min=0), default=50, show_default=True, help="Number of lines.")
@click.pass_obj
def logs(settings: Settings, job: str, lines: int) -> None:
    """Show what the job's process and its libraries printed."""
    from mg_tui.runs.model_jobs import ModelJobFolder
    from mg_tui.runs.store import find_run
    from mg_tui.runs.worker_log import read_tail

    for line in read_tail(find_run(settings.home, job, ModelJobFolder).log_file, lines):
        print_log_line(line)


@jobs.command()
@_ID_ARGUMENT
@click.pass_context
def watch(ctx: click.Context, job: str) -> None:
    """Follow a job until it ends. Ctrl+c asks whether to stop it or detach."""
    from mg_tui.cli.follow import exit_code_of, follow_run
    from mg_tui.cli.jobs.display import JobStyle
    from mg_tui.runs.model_jobs import ModelJobFolder
    from mg_tui.runs.store import find_run

    folder = find_run(ctx.obj.home, job, ModelJobFolder)
    ctx.exit(exit_code_of(follow_run(folder, JobStyle()), folder))


@jobs.command()
@click.argument("job", metavar="ID...", nargs=-1, required=True)
@_JSON_OPTION
@click.pass_obj
def stop(settings: Settings, job: tuple[str, ...], as_json: bool) -> None:
    """Stop jobs. What they wrote in part is removed; files that a push has sent are not sent again."""
    from mg_tui.runs.model_jobs import ModelJobFolder
    from mg_tui.runs.store import find_run

    stop_all([find_run(settings.home, ref, ModelJobFolder) for ref in job], as_json=as_json)


@jobs.command()
@click.argument("job", metavar="ID...", nargs=-1, required=True)
@click.option("--yes", "-y", is_flag=True, help="Skip the confirmation.")
@click.pass_obj
def rm(settings: Settings, job: tuple[str, ...], yes: bool) -> None:
    """Delete the records of jobs that have ended. What they wrote or pushed stays."""
    from mg_tui.cli.runs.trash import delete_folders
    from mg_tui.runs.model_jobs import ModelJobFolder

    delete_folders(settings, job, ModelJobFolder, yes=yes)
