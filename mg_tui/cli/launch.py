"""How commands start runs: at once or in the queue, on which devices, followed or left alone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mg_tui.runs.folder import RunFolder

_DETACH_OPTION = click.option("--detach", is_flag=True, help="Start the run in the background and print its id.")
_QUEUE_OPTION = click.option("--queue", is_flag=True, help="Add the run to the queue.")
_GPUS_OPTION = click.option("--gpus", metavar="0,1|any|cpu", help="GPUs by nvidia-smi index. [default: any free one]")


def launch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags `--gpus`, `--queue` and `--detach`."""
    return _DETACH_OPTION(_QUEUE_OPTION(_GPUS_OPTION(command)))


def parse_gpus(gpus: str | None) -> tuple[str, ...] | None:
    """What `--gpus` means here; None when it was not given.

    Raises:
        UsageError: it means nothing.
        EnvironmentProblem: this machine has no such device.
    """
    if gpus is None:
        return None
    from mg_tui.runs import devices

    asked = devices.parse_devices(gpus)
    devices.require_devices(asked, devices.find_devices())
    return asked


def start_or_queue(folder: "RunFolder", *, gpus: Sequence[str] | None, queue: bool) -> None:
    """Start a run's worker, or put it into the queue.

    Raises:
        RunFailed: it is alive.
        EnvironmentProblem: it cannot be started.
    """
    from mg_tui.runs import control, devices, operations

    if queue:
        wake_queue(folder.path.parent.parent)
    begun = operations.start_or_queue(folder, control.requester("cli"), gpus=gpus, in_queue=queue)
    if begun.queued and begun.gpus:
        asked = ",".join(begun.gpus)
        click.echo(f"queued   for {asked if asked in (devices.ANY, devices.CPU) else 'GPU ' + asked}", err=True)
    if begun.runs_ahead:
        click.echo(
            f"before   {begun.runs_ahead} run{'s' if begun.runs_ahead > 1 else ''}; `model-garden runs queue` shows them",
            err=True,
        )


def detach_or_follow(folder: "RunFolder", *, detach: bool, attempts: int = 0, queued: bool = False) -> int:
    """Print the run's id and return, or follow it; returns the exit code of the command.

    `attempts` is how often the run had been started before.
    """
    if detach:
        click.echo(folder.id)
        click.echo(f"follow with: model-garden runs watch {folder.id}", err=True)
        return 0
    from mg_tui.cli.follow import exit_code_of, follow_run
    from mg_tui.runs import launch

    if attempts and not queued:  # its journal says that it ended, until the new worker's first word
        launch.wait_until_started(folder, attempts=attempts)
    return exit_code_of(follow_run(folder), folder)


def wake_queue(home: Path, *, resume: bool = False) -> None:
    """Start what should be waiting and is not, e.g. after a reboot; says so, and never fails.

    With `resume`, interrupted runs are put at the front of the queue.
    """
    from mg_tui.core.errors import GardenError
    from mg_tui.runs import control, launch
    from mg_tui.runs import queue as queues

    try:
        resumed = []
        if resume:
            from mg_tui.runs.interrupted import resume_interrupted

            resumed = resume_interrupted(home, control.requester("resume_interrupted"))
        woken = queues.restart_waiters(home, launch.start_waiter)
    except GardenError as error:
        click.echo(f"the queue could not be restarted: {error.what} {error.why or ''}".rstrip(), err=True)
        return
    for folder in resumed:
        click.echo(f"resumed: {folder.id} (was interrupted)", err=True)
    for folder in woken:
        click.echo(f"queued again: {folder.id}", err=True)
