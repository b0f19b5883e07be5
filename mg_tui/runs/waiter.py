"""`python -m mg_tui.runs.waiter <run folder>`: waits for a queued run's devices, then becomes its worker.

It holds the run's lock while it waits, so that each run has one waiting process, and passes it on by `exec`: process id
and lock stay the same. It imports neither torch nor pydantic. If it is killed, the run stays queued, its devices are
free, and the other waiting processes start a new one; if there are none, `model-garden runs wake` or any front end
does.
"""

import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import EnvironmentProblem, GardenError, RunFailed
from mg_tui.runs import devices, launch, queue
from mg_tui.runs.control import ControlInbox
from mg_tui.runs.device_request import write_device_request
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
from mg_tui.runs.scheduler import Allocation, QueueRequest, allocate_devices, with_cpu
from mg_tui.runs.state import RunState

POLL_SECONDS: Final = 1.0  # seconds between polls
# Polls of a run without its waiting process before another is started for it, and before the next one if that died too.
_POLLS_BEFORE_RESTART: Final = 4
_POLLS_BETWEEN_RESTARTS: Final = 30
_STARTUP_SECONDS: Final = 60.0  # seconds for which a run keeps its position while its new waiting process starts

FindDevices = Callable[[], list[devices.Device]]


class Waiter:
    """The waiting process of one run. `find_devices` returns the devices of this machine."""

    def __init__(self, folder: RunFolder, find_devices: FindDevices, poll: float = POLL_SECONDS):
        self.folder = folder
        self.home = folder.home
        self._find_devices = find_devices
        self._poll = poll
        self._lock = RunLock(folder.lock_file)
        self._locks = devices.DeviceLocks(self.home)
        self._inbox = ControlInbox(folder)
        self._last_message: str | None = None
        self._polls_without_waiter: dict[str, int] = {}  # by run: polls without its waiting process
        self._restarted_at: dict[str, float] = {}  # by run: when another was started, on the monotonic clock

    def wait(self) -> int:
        """Wait, and become the worker; returns an exit code only if the run is no longer queued.

        Raises:
            RunFailed: another process is waiting for this run.
        """
        self._lock.acquire(patience=1.0)
        while True:
            if self._cancelled() or queue.read_state(self.folder)[0] is not RunState.QUEUED:
                return 0
            try:
                with queue.queue_lock(self.home):
                    allocation = self._allocate()
                    if allocation.devices:
                        self._become_worker(allocation.devices)
                self._report_waiting(allocation.why)
            except EnvironmentProblem as error:  # a full or missing disk: it may come back
                self._log(str(error))
            time.sleep(self._poll * random.uniform(0.8, 1.2))

    def _allocate(self) -> Allocation:
        listed = queue.list_queue(self.home, tidy=True)
        if all(entry.folder != self.folder for entry in listed):  # its record is missing: put it first
            listed.insert(0, queue.QueueEntry(self.folder, queue.read_queue_record(self.folder), has_waiter=True))
        requests = [QueueRequest(e.folder.id, e.record.gpus, self._ready(e)) for e in listed]
        available = {device.name: self._unavailable_reason(device) for device in self._find_devices()}
        available = with_cpu(available, requests, self._unavailable_reason(devices.Device(devices.CPU)))
        allocation = allocate_devices(self.folder.id, requests, available)
        if allocation.devices and not self._locks.take(allocation.devices):
            return Allocation(why=f"{devices.format_devices(allocation.devices)}: just taken")
        return allocation

    def _ready(self, entry: queue.QueueEntry) -> bool:
        """Whether a run may get devices; starts a new waiting process if its own died."""
        run = entry.folder.id
        if entry.has_waiter or entry.folder == self.folder:
            self._polls_without_waiter.pop(run, None)
            return not entry.record.held
        polls = self._polls_without_waiter[run] = self._polls_without_waiter.get(run, 0) + 1
        if entry.record.home not in ("", str(self.home)):
            return False
        if polls % _POLLS_BETWEEN_RESTARTS == _POLLS_BEFORE_RESTART and not self._is_starting(entry.folder):
            with contextlib.suppress(GardenError):
                launch.start_waiter(entry.folder)
                self._restarted_at[run] = time.monotonic()
        return (polls <= _POLLS_BEFORE_RESTART or self._is_starting(entry.folder)) and not entry.record.held

    def _is_starting(self, folder: RunFolder) -> bool:
        """Whether the process started for a run is running and may still take its lock: a busy machine is slow."""
        since = self._restarted_at.get(folder.id)
        return (
            since is not None
            and time.monotonic() - since < _STARTUP_SECONDS
            and launch.worker_exit_status(folder) is None
        )

    def _unavailable_reason(self, device: devices.Device) -> str | None:
        if not self._locks.is_free(device.name):
            return "in use by another run"
        return device.used_by and f"used by {device.used_by}"

    def _cancelled(self) -> bool:
        for request in self._inbox.take():
            if request.request != "checkpoint":
                queue.write_cancelled(self.folder, request.by)
                return True
        return False

    def _become_worker(self, names: tuple[str, ...]) -> None:
        write_device_request(self.folder, queue.read_queue_record(self.folder).gpus, names)
        with JournalWriter(self.folder.journal_file) as journal:
            journal.write("decision", what="devices", value=devices.format_devices(names), why="its queue position")
        handed = {**self._lock.hand_over(), **self._locks.hand_over(), **devices.device_environment(names)}
        command = launch.worker_command(self.folder)
        sys.stdout.flush()
        try:
            os.execve(command[0], list(command), {**os.environ, **handed})
        except OSError as error:
            self._locks.release()
            self._write("failed", what="cannot start the worker", why=error.strerror, exit_code=3)

    def _report_waiting(self, why: str) -> None:
        """Write what the run waits for, if it has changed."""
        if why != self._last_message:
            self._last_message = why
            self._write("phase", name="waiting", detail=why)

    def _write(self, kind: str, **data: Any) -> None:
        with JournalWriter(self.folder.journal_file) as journal:
            journal.write(kind, **data)

    def _log(self, text: str) -> None:
        if text != self._last_message:
            self._last_message = text
            sys.stderr.write(f"still waiting: {text}\n")


def nvml_finder() -> FindDevices:
    """A function that finds the devices through NVML, which stays open."""
    from mg_tui.hardware.nvml import Nvml

    nvml = Nvml()
    return lambda: devices.find_devices(nvml)


def main(find_devices: FindDevices | None = None, poll: float = POLL_SECONDS) -> None:
    """Wait for the run named on the command line."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m mg_tui.runs.waiter <run folder>\n")
        sys.exit(2)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # its run stays queued; exit silently
    folder = RunFolder(Path(sys.argv[1]).absolute())
    try:
        code = Waiter(folder, find_devices or nvml_finder(), poll).wait()
    except RunFailed:
        code = 0  # another process is waiting for it already
    except GardenError as error:
        sys.stderr.write(f"{error}\n")
        code = error.exit_code
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    sys.exit(code)


if __name__ == "__main__":
    main()
