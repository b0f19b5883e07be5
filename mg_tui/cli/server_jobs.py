"""`--server URL train-vision`, `runs rerun` and `runs resume`: jobs on a server."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from mg_tui.cli.server import refuse_with_server
from mg_tui.core.errors import UsageError
from mg_tui.core.text import printable

if TYPE_CHECKING:
    from mg_tui.remote.garden import RemoteGarden
    from mg_tui.runs.folder import RunFolder

_COPY_SECONDS: Final = 60.0


def create_there(
    garden: "RemoteGarden",
    values: Mapping[str, Any],
    *,
    preset: str | None,
    gpus: str | None,
    follow: bool,
    check_only: bool,
) -> int:
    """Create a job on the server from flags; returns the exit code of the command.

    Its defaults and presets are those of the server's garden.toml, and paths are the server's.

    Raises:
        GardenError: the server refuses it.
    """
    if check_only:
        raise refuse_with_server("--check-only", "the server checks a job when it is created")
    body = {**values, **({"preset": preset} if preset else {}), **({"gpus": gpus} if gpus else {})}
    try:
        job = garden.create(body)
    except UsageError as error:
        error.why = error.why or "paths and defaults are those of the server"
        raise
    return show_created(garden, job, follow=follow)


def rerun_there(
    garden: "RemoteGarden",
    run: "RunFolder",
    values: Mapping[str, Any],
    *,
    gpus: str | None,
    follow: bool,
    check_only: bool,
) -> int:
    """Create a job on the server from the options of another. Raises as `create_there`."""
    if check_only:
        raise refuse_with_server("--check-only", "the server checks a job when it is created")
    job = garden.rerun(run.id, {**values, **({"gpus": gpus} if gpus else {})})
    return show_created(garden, job, follow=follow)


def show_created(garden: "RemoteGarden", job: Mapping[str, Any], *, follow: bool) -> int:
    """Print a job, and follow it if asked to."""
    from mg_tui.cli.launch import detach_or_follow

    position = (job.get("queue") or {}).get("position")
    state = str(job.get("state", ""))
    click.echo(f"run      {printable(str(job['id']))}", err=True)
    click.echo(f"state    {printable(state)}{f', number {position} in the queue' if position else ''}", err=True)
    click.echo(f"on       {garden.address}", err=True)
    return detach_or_follow(copied_run(garden, str(job["id"])), detach=not follow)


def copied_run(garden: "RemoteGarden", run_id: str) -> "RunFolder":
    """The copy of a run, as soon as there is one.

    Raises:
        GardenError: the server was lost before.
    """
    from mg_tui.remote.problems import ServerProblem
    from mg_tui.runs.folder import RunFolder

    folder = RunFolder(garden.home / RunFolder.parent / run_id)
    deadline = time.monotonic() + _COPY_SECONDS
    while not folder.journal_file.is_file():
        if time.monotonic() > deadline:
            why = garden.status.why or "it was not copied in time"
            raise ServerProblem(f"The run {run_id} was created and cannot be followed.", where=garden.address, why=why)
        time.sleep(0.05)
    return folder


def resume_there(
    folder: "RunFolder",
    *,
    at: str | None,
    from_start: bool,
    gpus: str | None,
    processes: int | None,
    max_cost: float | None,
    queue: bool,
    follow: bool,
) -> int:
    """Resume a run on the server. Raises as the server refuses."""
    from mg_tui.cli.launch import detach_or_follow
    from mg_tui.runs import devices, operations
    from mg_tui.runs.control import requester

    requested = devices.parse_devices(gpus) if gpus else None
    by = requester("cli")
    target = operations.resume_run(
        folder,
        by,
        gpus=requested,
        in_queue=queue,
        from_start=from_start,
        at=at,
        processes=processes,
        max_cost=max_cost,
    )
    click.echo(f"run      {folder.id}\nresumes  {target.summary}", err=True)
    if follow:
        _wait_for_attempt(folder, target.attempts)
    return detach_or_follow(folder, detach=not follow)


def _wait_for_attempt(folder: "RunFolder", attempts: int) -> None:
    """Wait until the copy of a resumed run says that it is queued or was started again."""
    from mg_tui.runs.watch import RunWatch

    watch, deadline = RunWatch(folder), time.monotonic() + _COPY_SECONDS
    watch.refresh()
    while watch.state.ended and watch.view.attempt <= attempts and time.monotonic() < deadline:
        time.sleep(0.1)
        watch.refresh()
