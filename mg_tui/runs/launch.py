"""From a spec to a running worker that outlives whoever started it."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from mg_tui.core.errors import EnvironmentProblem, GardenError, RunFailed
from mg_tui.core.paths import expand_user, is_remote
from mg_tui.runs import devices, output_folder
from mg_tui.runs.control import ControlInbox
from mg_tui.runs.folder import RunFolder, write_atomic
from mg_tui.runs.lock import is_held
from mg_tui.runs.state import RunState
from mg_tui.runs.versions import package_versions
from mg_tui.runs.watch import RunWatch
from mg_tui.runs.worker_log import read_tail

if TYPE_CHECKING:
    from mg_tui.core.spec import TrainingSpec

_DEVICES_FILE: Final = "devices.json"
# A shell in between, because a signal that is ignored stays ignored across `exec`, and because running Python code
# between fork and exec can hang a process that has threads, which the dashboard is.
_DETACH_COMMAND: Final = ("/bin/sh", "-c", "trap '' HUP; exec \"$@\"", "model-garden")


class _DetachedProcess(subprocess.Popen[bytes]):
    """A process that is meant to outlive this object and this process."""

    def __del__(self) -> None:
        """Nothing is amiss when it still runs, which is what Popen would warn of."""


_started_processes: dict[Path, _DetachedProcess] = {}


class HasHome(Protocol):
    """What is needed of the settings."""

    @property
    def home(self) -> Path:
        """The home folder."""
        ...


def create_run(spec: "TrainingSpec", settings: HasHome, *, cwd: Path | None = None) -> RunFolder:
    """Check where the result goes and make the run's folder; `start_worker` does the rest.

    Paths of the spec are made absolute against `cwd` (the working folder), since the worker works elsewhere; relative
    images are looked up there.

    Raises:
        UsageError: the output folder is not empty, not a folder, not writable, or promised to another run.
        EnvironmentProblem: the run's folder cannot be made.
        Either way nothing is left behind.
    """
    cwd = cwd or Path.cwd()
    settled = with_absolute_paths(spec, cwd)
    with output_folder.reserve_output_folder(settled.output_dir, settings.home):
        return RunFolder.create(settings.home, settled, versions=package_versions(), cwd=cwd)


def check_output_dir(spec: "TrainingSpec", *, cwd: Path | None = None) -> None:
    """Refuse an output folder that cannot be used, before anything that takes time; makes nothing.

    Raises:
        UsageError: it is a file, is not empty, or cannot be written to.
    """
    if spec.output_dir is not None:
        output_folder.check_output_folder(Path(_absolute_path(spec.output_dir, cwd or Path.cwd())))


def with_absolute_paths(spec: "TrainingSpec", cwd: Path) -> "TrainingSpec":
    """`spec` with every path absolute. What `base_model` means is for who knows aliases: see `preflight.settled`."""
    from mg_tui.core.options import options_of

    names = [option.name for option in options_of(type(spec)) if option.kind == "path"]
    changed: dict[str, Any] = {n: _absolute_path(getattr(spec, n), cwd) for n in names if getattr(spec, n) is not None}
    return spec.model_copy(update=changed)


def worker_command(folder: RunFolder) -> Sequence[str]:
    """The worker's command line. `-P`: what lies in the working folder is not importable."""
    return (sys.executable, "-P", "-m", "mg_tui.engine", str(folder.path))


def waiter_command(folder: RunFolder) -> Sequence[str]:
    """The command line of the process that waits for a queued run's turn."""
    return (sys.executable, "-P", "-m", "mg_tui.runs.waiter", str(folder.path))


def start_worker(folder: RunFolder, gpus: Sequence[str] | None = None) -> int:
    """Start the run's worker in a session of its own, with nothing of this terminal; returns its process id.

    It ignores SIGHUP, reads nothing, prints into the run's log, and finds this process's environment (HF_HUB_OFFLINE
    and the like among it). Requests nobody was alive to see are cleared first.

    Args:
        folder: the run.
        gpus: the devices it is to use, by name; left out, those it was started with before, or the usual ones.

    Raises:
        RunFailed: a worker is already alive.
        EnvironmentProblem: the process or its log cannot be started, or there is no such device.
    """
    return _start_process(folder, worker_command, _worker_environment(folder, gpus))


def start_waiter(folder: RunFolder) -> int:
    """Start the process that waits for a queued run's turn, in the same way; returns its process id.

    Raises:
        RunFailed: one is already alive.
        EnvironmentProblem: the process or its log cannot be started.
    """
    return _start_process(folder, waiter_command, {})


def write_device_request(folder: RunFolder, asked: Sequence[str], used: Sequence[str]) -> None:
    """Keep in the run's folder which devices it asked for and which it got.

    Raises:
        EnvironmentProblem: it cannot be written.
    """
    path = folder.path / _DEVICES_FILE
    try:
        write_atomic(path, (json.dumps({"asked": list(asked), "used": list(used)}) + "\n").encode())
    except OSError as error:
        raise EnvironmentProblem("Cannot save the run's devices.", where=str(path), why=error.strerror) from error


def read_requested_devices(folder: RunFolder) -> tuple[str, ...] | None:
    """The devices a run asked for the last time it was started or queued; None when it never asked."""
    try:
        return tuple(map(str, json.loads((folder.path / _DEVICES_FILE).read_bytes())["asked"])) or None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _worker_environment(folder: RunFolder, gpus: Sequence[str] | None) -> dict[str, str]:
    """What a directly started worker is told about its devices, which it shares with other such runs."""
    here = devices.find_devices()
    asked = tuple(gpus) if gpus is not None else read_requested_devices(folder)
    if asked is None:
        with contextlib.suppress(GardenError):
            if folder.spec_values().get("device") == "cpu":
                return {devices.SHARED_DEVICES_ENV: devices.CPU}
        return {devices.SHARED_DEVICES_ENV: ",".join(devices.default_devices(here, os.environ))}
    devices.require_devices(asked, here)
    used = asked
    if asked == (devices.ANY,):
        locks = devices.DeviceLocks(folder.path.parent.parent)
        free = [device.name for device in here if device.used_by is None and locks.free(device.name)]
        used = (free[0] if free else here[0].name,)
    write_device_request(folder, asked, used)
    return {devices.SHARED_DEVICES_ENV: ",".join(used), **devices.device_environment(used)}


def _start_process(folder: RunFolder, command: Callable[[RunFolder], Sequence[str]], environ: Mapping[str, str]) -> int:
    folder = RunFolder(folder.path.absolute())  # the worker's working folder is another
    if is_held(folder.lock_file):
        raise RunFailed(f"Run {folder.id} is already running.", hint=f"model-garden runs watch {folder.id}")
    ControlInbox(folder).clear()
    for earlier in _started_processes.values():
        earlier.poll()  # a long-lived face leaves no zombies
    try:
        with folder.log_file.open("ab") as log:
            process = _DetachedProcess(
                [*_DETACH_COMMAND, *command(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=folder.path,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environ},
            )
    except OSError as error:
        raise EnvironmentProblem(
            "Cannot start the training process.", where=str(folder.path), why=error.strerror
        ) from error
    _started_processes[folder.path] = process
    return process.pid


def worker_exit_status(folder: RunFolder) -> int | None:
    """The exit status of the worker if this process started it and it has ended; None when alive or not known."""
    process = _started_processes.get(folder.path)
    return None if process is None else process.poll()


def wait_until_started(folder: RunFolder, timeout: float = 120.0, poll: float = 0.05, *, attempts: int = 0) -> RunState:
    """Wait until the worker has said that it started, and return the run's state then.

    `attempts` is how often the run had been started before.

    Raises:
        RunFailed: it ended before, or said nothing within `timeout` seconds; with the last line of its log.
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
    """The error for a worker that ended before its first word."""
    last = [line for line in read_tail(folder.log_file, 5) if line.strip()]
    return RunFailed(
        "The training process did not start.",
        where=str(folder.log_file),
        why=f"{why}; last log line: {last[-1]}" if last else why,
        hint=f"model-garden runs logs {folder.id}",
    )


def _absolute_path(text: str, cwd: Path) -> str:
    return text if is_remote(text) else os.path.normpath(cwd / expand_user(text))
