"""Starts workers and waiting processes that outlive their starter."""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from mg_tui.core.errors import EnvironmentProblem, RunFailed
from mg_tui.core.paths import expand_user, is_remote
from mg_tui.runs import output_folder, watch_request, watcher_process
from mg_tui.runs.caller_bounds import CallerBounds, bounded_environment
from mg_tui.runs.control import ControlInbox
from mg_tui.runs.detached import DetachedProcess, start_detached
from mg_tui.runs.device_request import worker_environment
from mg_tui.runs.elsewhere import require_here
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.lock import RunLock
from mg_tui.runs.state import RunState
from mg_tui.runs.versions import package_versions
from mg_tui.runs.watch import RunWatch
from mg_tui.runs.worker_log import read_tail

if TYPE_CHECKING:
    from pydantic import BaseModel

    from mg_tui.core.spec import TrainingSpec

SpecT = TypeVar("SpecT", bound="BaseModel")

_LOCK_PATIENCE: Final = 0.5  # seconds: looking at a lock holds it for microseconds
_ENDING_PATIENCE: Final = 15.0  # seconds between a run's last event and the end of all its processes
_JOURNAL_BYTES: Final = 1 << 16  # read of each end of the journal


_started_processes: dict[Path, DetachedProcess] = {}


class RunSettings(Protocol):
    """The part of the settings that is used."""

    @property
    def home(self) -> Path:
        """The home folder."""
        ...

    @property
    def notify(self) -> Mapping[str, str]:
        """URLs that messages are sent to, by name."""
        ...


def create_run(
    spec: "TrainingSpec",
    settings: RunSettings,
    *,
    cwd: Path | None = None,
    run_id: str | None = None,
    bounds: CallerBounds | None = None,
) -> RunFolder:
    """Check the output folder and create the run's folder; `start_worker` starts it.

    Paths of the spec are made absolute relative to `cwd` (default: the working directory), since the worker runs in
    another folder; `cwd` is also the base of relative image paths. `run_id` and `bounds`: see `RunFolder.create`.
    Secrets in it (URLs of notification services) go into a file of their own; see `mg_tui.runs.watch_request`.

    Raises:
        UsageError: there is no such name in [notify], or the output folder is not empty, not a folder, not writable, or
            reserved by another run.
        EnvironmentProblem: the run's folder cannot be created.
        Nothing is left behind in either case.
    """
    cwd = cwd or Path.cwd()
    if getattr(spec, "node_rank", 0):  # machine 0 has the result
        spec = spec.model_copy(update={"output_dir": None})
    public, request = watch_request.separate_secrets(spec, settings.notify, cwd)
    absolute = with_absolute_paths(public, cwd)
    with output_folder.reserve_output_folder(absolute.output_dir, settings.home):
        folder = RunFolder.create(
            settings.home, absolute, versions=package_versions(), cwd=cwd, run_id=run_id, bounds=bounds
        )
    if request is not None:
        watch_request.write_watch_request(folder.path, request)
    return folder


def check_output_dir(spec: "TrainingSpec", *, cwd: Path | None = None) -> None:
    """Check early that the output folder is usable; creates nothing.

    Raises:
        UsageError: it is a file, is not empty, or cannot be written to.
    """
    if spec.output_dir is not None:
        output_folder.check_output_folder(Path(_absolute_path(spec.output_dir, cwd or Path.cwd())))


def with_absolute_paths(spec: "SpecT", cwd: Path) -> "SpecT":
    """`spec` with its paths absolute, except `base_model`, which may be an alias (see `mg_tui.preflight.checks`)."""
    from mg_tui.core.options import options_of

    names = [option.name for option in options_of(type(spec)) if option.kind == "path"]
    changed: dict[str, Any] = {n: _absolute_path(getattr(spec, n), cwd) for n in names if getattr(spec, n) is not None}
    return spec.model_copy(update=changed)


def worker_command(folder: RunFolder) -> Sequence[str]:
    """The worker's command line. `-P`: modules in the working directory are not importable."""
    return (sys.executable, "-P", "-m", folder.worker, str(folder.path))


def waiter_command(folder: RunFolder) -> Sequence[str]:
    """The command line of a queued run's waiting process."""
    return (sys.executable, "-P", "-m", "mg_tui.runs.waiter", str(folder.path))


def start_worker(
    folder: RunFolder, gpus: Sequence[str] | None = None, *, prepare: Callable[[], None] | None = None
) -> int:
    """Start the run's worker in its own session, detached from the terminal; returns its process id.

    It ignores SIGHUP, has no standard input, writes to the run's log, and inherits this process's environment
    (HF_HUB_OFFLINE and the like). Requests made while no worker was running are cleared first.

    Args:
        folder: the run.
        gpus: the devices to use, by name; by default those it requested before, else the default ones.
        prepare: called with the run's lock held, before the process starts: writes what it is to do. A start that is
            refused changes nothing in the run's folder.

    Raises:
        RunFailed: a worker is already running.
        EnvironmentProblem: the process or its log cannot be started, or this machine has no such device.
    """
    return _start_process(folder, worker_command, lambda: worker_environment(folder, gpus), prepare)


def start_waiter(folder: RunFolder) -> int:
    """Start a queued run's waiting process in the same way; returns its process id.

    Raises:
        RunFailed: one is already running.
        EnvironmentProblem: the process or its log cannot be started.
    """
    return _start_process(folder, waiter_command)


def _start_process(
    folder: RunFolder,
    command: Callable[[RunFolder], Sequence[str]],
    environ: Callable[[], Mapping[str, str]] = dict,
    prepare: Callable[[], None] | None = None,
) -> int:
    """Start a run's process with the run's lock, which this process holds until the other one has it.

    So nobody can start the run, or change what it is to do, between the check and the start.
    """
    require_here(folder, "Starting a process")
    folder = type(folder)(folder.path.absolute())  # the worker has another working directory
    lock = RunLock(folder.lock_file)
    try:
        lock.acquire(patience=_ENDING_PATIENCE if _is_ending(folder) else _LOCK_PATIENCE)
    except RunFailed as error:
        raise RunFailed(
            f"{folder.noun.capitalize()} {folder.id} is already running.",
            hint=f"model-garden {folder.command} watch {folder.id}",
        ) from error
    try:
        if prepare is not None:
            prepare()
        ControlInbox(folder).clear()
        return _start_locked(folder, command, environ(), lock)
    finally:
        lock.release()


def _is_ending(folder: RunFolder) -> bool:
    """Whether the run has written its last event: what still holds its lock is about to exit."""
    watch = RunWatch(folder, ends_only=_JOURNAL_BYTES)
    watch.refresh()
    return watch.view.lifecycle in ("finished", "stopped", "failed")


def _start_locked(
    folder: RunFolder, command: Callable[[RunFolder], Sequence[str]], environ: Mapping[str, str], lock: RunLock
) -> int:
    for earlier in _started_processes.values():
        earlier.poll()  # reap zombies in a long-lived front end
    base = bounded_environment(folder.path, os.environ)
    handed, descriptors = lock.for_child()
    try:
        with folder.log_file.open("ab") as log:
            process = start_detached(
                command(folder),
                log=log,
                cwd=folder.path,
                environ={**base, **environ, **handed},
                descriptors=descriptors,
            )
    except OSError as error:
        raise EnvironmentProblem(
            f"Cannot start the {folder.process}.", where=str(folder.path), why=error.strerror
        ) from error
    _started_processes[folder.path] = process
    watcher_process.start_if_requested(folder)
    return process.pid


def worker_exit_status(folder: RunFolder) -> int | None:
    """The exit status of the worker if this process started it and it has exited; else None."""
    process = _started_processes.get(folder.path)
    return None if process is None else process.poll()


def wait_until_started(folder: RunFolder, timeout: float = 120.0, poll: float = 0.05, *, attempts: int = 0) -> RunState:
    """Wait for the worker's `started` event, and return the run's state.

    `attempts` is how often the run had been started before.

    Raises:
        RunFailed: it exited before, or wrote no event within `timeout` seconds; with the last line of its log.
    """
    watch = RunWatch(folder)
    deadline = time.monotonic() + timeout
    while True:
        ended = worker_exit_status(folder)
        watch.refresh()
        if watch.view.attempt > attempts:
            return watch.state
        if ended is not None:
            raise start_error(folder, f"exit status {ended}")
        if time.monotonic() >= deadline:
            raise start_error(folder, f"no response within {timeout:g} seconds")
        time.sleep(poll)


def start_error(folder: RunFolder, why: str) -> RunFailed:
    """The error for a worker that exited before its first event."""
    last = [line for line in read_tail(folder.log_file, 5) if line.strip()]
    return RunFailed(
        f"The {folder.process} did not start.",
        where=str(folder.log_file),
        why=f"{why}; last log line: {last[-1]}" if last else why,
        hint=f"model-garden {folder.command} logs {folder.id}",
    )


def _absolute_path(text: str, cwd: Path) -> str:
    return text if is_remote(text) else os.path.normpath(cwd / expand_user(text))
