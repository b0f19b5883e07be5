"""What commands that are jobs share: start one, follow it until it ends or ctrl+c stops it, print its result."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mg_tui.config import Settings
from mg_tui.core.model_job_spec import ModelJobSpec

if TYPE_CHECKING:
    from mg_tui.runs.model_jobs import ModelJobFolder
    from mg_tui.runs.view import RunView

_INTERRUPTED: Final = 130


def do_job(spec: ModelJobSpec, settings: Settings) -> Mapping[str, Any]:
    """Start a job and follow it to its end; returns its result. Ctrl+c and SIGTERM stop it.

    It is a process of its own: if the terminal closes, it goes on.

    Raises:
        GardenError: what is wrong, or what ended the job.
        click.exceptions.Exit: it was stopped, or its process was killed.
    """
    from mg_tui.cli.follow import follow_until_stopped
    from mg_tui.cli.jobs.display import JobStyle, format_job_outcome
    from mg_tui.preflight.model_jobs import launch_model_job
    from mg_tui.runs.engine_process import error_from_record
    from mg_tui.runs.model_jobs import job_result
    from mg_tui.runs.state import RunState

    folder = launch_model_job(spec, settings, cwd=Path.cwd())
    watch = follow_until_stopped(folder, JobStyle())
    if (result := job_result(watch.view)) is not None:
        return result
    if watch.state is RunState.FAILED:
        _forget_refused(folder, watch.view)
        raise error_from_record(watch.view.error)
    for line in format_job_outcome(folder, watch.view, watch.state):
        click.echo(line, err=True)
    raise click.exceptions.Exit(_INTERRUPTED if watch.state is RunState.STOPPED else 1)


def _forget_refused(folder: "ModelJobFolder", view: "RunView") -> None:
    """Something mistyped is no job to keep: it was refused before anything was done."""
    if view.error.get("exit_code") == 2 and not view.plan:
        shutil.rmtree(folder.path, ignore_errors=True)


def print_result(spec: ModelJobSpec, result: Mapping[str, Any], *, as_json: bool) -> None:
    """What came of it on standard output, its figures on standard error; or all of it as JSON."""
    from mg_tui.cli.jobs.display import format_result
    from mg_tui.runs.job_results import headline

    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
        return
    click.echo(headline(spec.operation, result))
    for line in format_result(spec.operation, result):
        click.echo(line, err=True)
