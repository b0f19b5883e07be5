"""The queue: runs that wait for devices, each with a small process of its own and no daemon.

A run is queued when `queued` is the newest lifecycle event of its journal. Its requested devices, its position in the
order and whether it is held are in `queue.json` in its folder. Reading or changing the order requires the lock
`<home>/queue.lock`, so concurrent starters see the same order. A waiting process may die at any time: `restart_waiters`
starts another.
"""

import contextlib
import json
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import EnvironmentProblem, GardenError, RunFailed, UsageError
from mg_tui.core.files import write_atomic
from mg_tui.runs import control
from mg_tui.runs.devices import ANY
from mg_tui.runs.elsewhere import elsewhere_of, has_process
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader, JournalWriter
from mg_tui.runs.lifetime import current_lifetime
from mg_tui.runs.lock import RunLock, flock_exclusive
from mg_tui.runs.state import RunState
from mg_tui.runs.store import folders_with, run_folders
from mg_tui.runs.watch import RunWatch

QUEUE_FILE: Final = "queue.json"
_CHECKSUM: Final = "crc32"  # of the values of a queue record
_LOCK_FILE: Final = "queue.lock"
_LOCK_TIMEOUT: Final = 30.0  # seconds; the lock is only held to read or change the order
_STATE_READ_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class QueueRecord:
    """A run's queue record: `place` is the sort key (smaller is earlier, ties by id), `gpus` the requested devices.

    `home` is the home it was queued in: a copy of the folder elsewhere does not start by itself.
    """

    gpus: tuple[str, ...] = (ANY,)
    place: float = 0.0
    held: bool = False
    home: str = ""


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A queued run: its folder, its record, whether its waiting process runs, and what it waits for, in words."""

    folder: RunFolder
    record: QueueRecord
    has_waiter: bool
    why: str | None = None

    def as_dict(self, position: int) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "position": position,
            "id": self.folder.id,
            "gpus": ",".join(self.record.gpus),
            "held": self.record.held,
            "waiting_process": self.has_waiter,
            "waits_for": self.why,
        }


@contextlib.contextmanager
def queue_lock(home: Path, patience: float = _LOCK_TIMEOUT) -> Iterator[None]:
    """Hold the lock of the queue order.

    Raises:
        EnvironmentProblem: the lock cannot be acquired.
    """
    path = home / _LOCK_FILE
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise EnvironmentProblem("Cannot lock the queue.", where=str(path), why=error.strerror) from error
    try:
        if not flock_exclusive(fd, path, timeout=patience):
            raise EnvironmentProblem("Cannot lock the queue.", where=str(path), why="another process holds the lock")
        yield
    finally:
        os.close(fd)


def read_queue_record(folder: RunFolder) -> QueueRecord:
    """A run's queue record.

    When the file is missing or damaged, one at the front for the devices that the journal says were requested.
    """
    try:
        record = json.loads((folder.path / QUEUE_FILE).read_bytes())
        if _CHECKSUM in record and record != _with_checksum(record):
            raise ValueError("it was changed after it was written")
        gpus = tuple(str(name) for name in record["gpus"]) or (ANY,)
        return QueueRecord(gpus, float(record["place"]), bool(record["held"]), str(record.get("home", "")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return QueueRecord(_requested_devices(folder), home=str(folder.home))


def _requested_devices(folder: RunFolder) -> tuple[str, ...]:
    """The devices of the newest `queued` event."""
    requested = ""
    with contextlib.suppress(GardenError):
        for event in JournalReader(folder.journal_file).read_new():
            requested = str(event.data.get("gpus", "")) if event.kind == "queued" else requested
    return tuple(name for name in requested.split(",") if name) or (ANY,)


def _with_checksum(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with a checksum of its values; those of older versions have none."""
    values = {name: value for name, value in record.items() if name != _CHECKSUM}
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return {**values, _CHECKSUM: zlib.crc32(text.encode())}


def write_queue_record(folder: RunFolder, place: QueueRecord) -> None:
    """Write a run's queue record atomically.

    Raises:
        EnvironmentProblem: it cannot be written.
    """
    try:
        write_atomic(folder.path / QUEUE_FILE, (json.dumps(_with_checksum(asdict(place))) + "\n").encode())
    except OSError as error:
        raise EnvironmentProblem(
            "Cannot save the run's queue position.", where=str(folder.path / QUEUE_FILE), why=error.strerror
        ) from error


def enqueue(
    folder: RunFolder,
    gpus: Sequence[str],
    by: str,
    *,
    first: bool = False,
    expected: RunState | None = None,
    prepare: Callable[[], None] | None = None,
) -> bool:
    """Add a run to the end or the front of the queue; `launch.start_waiter` then starts its waiting process.

    With `expected`, a run whose state has changed is not queued; returns whether it was queued.
    `prepare` is called with the run's lock held, before it is queued.

    Raises:
        RunFailed: the run is running.
        EnvironmentProblem: it cannot be written.
    """
    home = folder.home
    with queue_lock(home), RunLock(folder.lock_file):
        if expected is not None and _state_while_locked(folder) is not expected:
            return False
        if prepare is not None:
            prepare()
        places = [entry.record.place for entry in list_queue(home)]
        place = min(places, default=1.0) - 1.0 if first else max(places, default=0.0) + 1.0
        write_queue_record(folder, QueueRecord(tuple(gpus), place, home=str(home)))
        with JournalWriter(folder.journal_file) as journal:
            journal.write("queued", gpus=",".join(gpus), by=by)
    return True


def read_state(folder: RunFolder) -> tuple[RunState, str | None]:
    """A run's state and phase detail, from the end of its journal."""
    watch = RunWatch(folder, ends_only=_STATE_READ_BYTES)
    watch.refresh()
    return watch.state, watch.view.phase_detail


def _state_while_locked(folder: RunFolder) -> RunState:
    """A run's state while this process holds its lock."""
    watch = RunWatch(folder, ends_only=_STATE_READ_BYTES)
    watch.refresh()
    return watch.view.state(lock_held=False, lifetime=current_lifetime())


def list_queue(home: Path, *, thorough: bool = False, tidy: bool = False) -> list[QueueEntry]:
    """The queued runs in order.

    Args:
        home: the home folder.
        thorough: also find runs whose `queue.json` is missing.
        tidy: remove records of runs that are no longer queued. Only for the holder of the queue lock.
    """
    listed: list[QueueEntry] = []
    for folder in run_folders(home) if thorough else folders_with(home, QUEUE_FILE):
        try:
            state, why = read_state(folder)
            if state is RunState.QUEUED:
                listed.append(QueueEntry(folder, read_queue_record(folder), has_process(folder), why))
            elif tidy and state is not RunState.CREATED:
                remove_queue_record(folder)
        except GardenError:
            continue  # a broken folder must not block the others
    return sorted(listed, key=lambda entry: (entry.record.place, entry.folder.id))


def find_in_queue(folder: RunFolder) -> tuple[int, QueueEntry] | None:
    """A queued run's position, from 1, and its entry; None when it is not queued."""
    if read_state(folder)[0] is not RunState.QUEUED:
        return None
    # Only if its own record is missing are all journals read.
    for thorough in (False, True):
        for position, entry in enumerate(list_queue(folder.home, thorough=thorough), start=1):
            if entry.folder.id == folder.id:
                return position, entry
    return None


def queue_position(folder: RunFolder) -> int | None:
    """A queued run's position, from 1; None when it is not queued."""
    found = find_in_queue(folder)
    return None if found is None else found[0]


def remove_queue_record(folder: RunFolder) -> None:
    """Remove a run's queue record, after its worker has started or it was cancelled."""
    with contextlib.suppress(OSError):
        (folder.path / QUEUE_FILE).unlink(missing_ok=True)


def set_held(folder: RunFolder, held: bool) -> None:
    """Hold a queued run, or release it.

    Raises:
        UsageError: the run is not queued.
    """
    if (elsewhere := elsewhere_of(folder)) is not None:
        elsewhere.set_held(folder.id, held)
        return
    with queue_lock(folder.home):
        _require_queued(folder)
        write_queue_record(folder, replace(read_queue_record(folder), held=held))


def move_to_position(folder: RunFolder, position: int) -> int:
    """Move a queued run to a position (from 1; larger than the queue: the end). Returns its new position.

    Raises:
        UsageError: the run is not queued.
    """
    if (elsewhere := elsewhere_of(folder)) is not None:
        return elsewhere.move(folder.id, position)
    home = folder.home
    with queue_lock(home):
        _require_queued(folder)
        queued = list_queue(home, thorough=True)
        mine = next(entry for entry in queued if entry.folder == folder)
        others = [entry for entry in queued if entry is not mine]
        at = min(max(position - 1, 0), len(others))
        order = [*others[:at], mine, *others[at:]]
        for number, entry in enumerate(order, start=1):
            if entry.record.place != number:
                write_queue_record(entry.folder, replace(entry.record, place=float(number)))
        return at + 1


def cancel_queued(folder: RunFolder, by: str, timeout: float = 10.0) -> bool:
    """Remove a run from the queue, with or without a waiting process; returns whether it was removed.

    Raises:
        EnvironmentProblem: it cannot be written.
    """
    deadline = time.monotonic() + timeout
    request: Path | None = None
    while time.monotonic() < deadline:
        if read_state(folder)[0] is not RunState.QUEUED:
            return True
        try:
            with RunLock(folder.lock_file).acquire(patience=0.05):
                if read_state(folder)[0] is RunState.QUEUED:
                    write_cancelled(folder, by)
                return True
        except RunFailed:
            request = request or control.send_request(folder, "stop", by)
        time.sleep(0.1)
    return False


def write_cancelled(folder: RunFolder, by: str, **more: Any) -> None:
    """Write the end of a queued run. Only for the holder of its lock."""
    watch = RunWatch(folder, ends_only=_STATE_READ_BYTES)
    watch.refresh()
    saved = watch.view.checkpoints[-1].path if watch.view.checkpoints else None
    with JournalWriter(folder.journal_file) as journal:
        journal.write("stopped", step=watch.view.step, checkpoint=saved, by=by, **more)
    remove_queue_record(folder)


def restart_waiters(home: Path, start: Callable[[RunFolder], object], *, thorough: bool = False) -> list[RunFolder]:
    """Start a waiting process for every queued run that has none; returns those runs.

    One that cannot be started does not keep the others from it.

    Args:
        home: the home folder.
        start: starts one: `launch.start_waiter`.
        thorough: as for `list_queue`.

    Raises:
        GardenError: the first reason, when none could be started.
    """
    woken: list[RunFolder] = []
    errors: list[GardenError] = []
    for entry in list_queue(home, thorough=thorough):
        if not entry.has_waiter and entry.record.home in ("", str(home)):
            try:
                start(entry.folder)
                woken.append(entry.folder)
            except GardenError as error:
                errors.append(error)
    if errors and not woken:
        raise errors[0]
    return woken


def _require_queued(folder: RunFolder) -> None:
    state, _why = read_state(folder)
    if state is not RunState.QUEUED:
        raise UsageError(f"Run {folder.id} is not queued (state: {state.label}).", hint="model-garden runs queue")
