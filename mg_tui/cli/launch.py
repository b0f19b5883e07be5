"""Starting runs from the command line: now or in the queue, on which devices, followed or detached."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from mg_tui.core.program import runnable
from mg_tui.core.text import pluralize, printable

if TYPE_CHECKING:
    from mg_tui.runs.folder import RunFolder

_DETACH_OPTION = click.option("--detach", is_flag=True, help="Start the run in the background and print its id.")
_QUEUE_OPTION = click.option("--queue", is_flag=True, help="Add the run to the queue.")
_GPUS_OPTION = click.option(
    "--gpus",
    metavar="0,1|all|any|cpu",
    help="GPUs by nvidia-smi index; training has one process for each. [default: any free one]",
)


def launch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags `--gpus`, `--queue` and `--detach`."""
    return _DETACH_OPTION(_QUEUE_OPTION(_GPUS_OPTION(command)))


def parse_gpus(gpus: str | None) -> tuple[str, ...] | None:
    """The devices that `--gpus` names; None when it is not set.

    Raises:
        UsageError: it cannot be parsed.
        EnvironmentProblem: this machine has no such device.
    """
    if gpus is None:
        return None
    from mg_tui.runs import devices

    requested = devices.parse_devices(gpus)
    devices.require_devices(requested, devices.find_devices())
    return requested


def start_or_queue(
    folder: "RunFolder",
    *,
    gpus: Sequence[str] | None,
    queue: bool,
    processes: int | None = None,
    prepare: Callable[[], None] | None = None,
) -> None:
    """Start a run's worker, or add the run to the queue. `processes`, `prepare`: see `operations.start_or_queue`.

    Raises:
        RunFailed: it is running already.
        EnvironmentProblem: it cannot be started.
    """
    from mg_tui.runs import control, devices, operations

    if queue:
        wake_queue(folder.path.parent.parent)
    started = operations.start_or_queue(
        folder, control.requester("cli"), gpus=gpus, in_queue=queue, processes=processes, prepare=prepare
    )
    if started.queued and started.gpus:
        names, words = ",".join(started.gpus), (devices.ANY, devices.ALL, devices.CPU)
        click.echo(f"queued   for {names if started.gpus[0] in words else 'GPU ' + names}", err=True)
    if started.runs_ahead:
        ahead = pluralize(started.runs_ahead, "run")
        click.echo(runnable(f"behind   {ahead}; list them with `model-garden runs queue`"), err=True)
    from mg_tui.runs.watch_request import read_watch_request

    if (request := read_watch_request(folder.path)) is not None:
        from mg_tui.cli.watch import wait_until_ready

        wait_until_ready(folder.path, request)


def detach_or_follow(folder: "RunFolder", *, detach: bool, attempts: int = 0, queued: bool = False) -> int:
    """Print the run's id and return, or follow it; returns the exit code of the command.

    `attempts`: how many times the run had been started before.
    """
    if detach:
        click.echo(folder.id)
        click.echo(runnable(f"follow with: model-garden runs watch {folder.id}"), err=True)
        return 0
    from mg_tui.cli.follow import exit_code_of, follow_run
    from mg_tui.runs import launch

    if attempts and not queued:  # until the new worker writes, the journal ends with the previous attempt
        launch.wait_until_started(folder, attempts=attempts)
    return exit_code_of(follow_run(folder), folder)


class RestartedQueue(NamedTuple):
    """Runs whose waiter or worker was started again: interrupted ones that were resumed, and queued ones."""

    resumed: "list[RunFolder]"
    queued: "list[RunFolder]"

    def print(self) -> None:
        """One line per run on standard error."""
        for folder in self.resumed:
            click.echo(f"resumed: {printable(folder.id)} (was interrupted)", err=True)
        for folder in self.queued:
            click.echo(f"queued again: {printable(folder.id)}", err=True)


def restart_queue(home: Path, *, resume: bool, thorough: bool = False) -> RestartedQueue:
    """Start the waiter processes that are missing, e.g. after a reboot.

    With `resume`, interrupted runs are put at the front of the queue first. `thorough` also
    finds queued runs whose `queue.json` is missing.

    Raises:
        GardenError: a run cannot be read or a process cannot be started.
    """
    from mg_tui.runs import control, launch, watcher_process
    from mg_tui.runs import queue as queues
    from mg_tui.runs.interrupted import resume_interrupted

    resumed = resume_interrupted(home, control.requester("resume_interrupted")) if resume else []
    watcher_process.restart_watchers(home)
    return RestartedQueue(resumed, queues.restart_waiters(home, launch.start_waiter, thorough=thorough))


def wake_queue(home: Path, *, resume: bool = False) -> None:
    """`restart_queue` for commands whose subject is something else: prints the outcome, and an error is a warning."""
    from mg_tui.core.errors import GardenError

    try:
        restart_queue(home, resume=resume).print()
    except GardenError as error:
        click.echo(f"the queue could not be restarted: {error.what} {error.why or ''}".rstrip(), err=True)
