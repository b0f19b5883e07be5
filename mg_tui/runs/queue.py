"""The queue: runs that wait for their turn and their devices, each with a small process of its own and no daemon.

That a run is queued is said by its journal (`queued` is its newest lifecycle event). What it asked for, its place in
the order and whether it is held lie in `queue.json` in its folder. Whoever reads or changes the order holds the lock
`<home>/queue.lock` meanwhile, so two who start the queue at once find the same order. A waiting process may die at any
moment: `wake` starts another.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import EnvironmentProblem, GardenError, RunFailed, UsageError
from mg_tui.runs import control
from mg_tui.runs.devices import ANY
from mg_tui.runs.folder import RunFolder, write_whole
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lifetime import here
from mg_tui.runs.lock import RunLock, is_held
from mg_tui.runs.state import RunState
from mg_tui.runs.store import run_folders
from mg_tui.runs.watch import RunWatch

FILE: Final = "queue.json"
_LOCK: Final = "queue.lock"
_PATIENCE: Final = 30.0  # seconds; whoever has the order changes or reads it and lets go
_GLANCE: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Place:
    """A run's place in the queue: `place` orders (smaller is earlier, ties go by id), `gpus` are the devices asked for.

    `home` is where it was queued: a copy of the folder elsewhere does not start by itself.
    """

    gpus: tuple[str, ...] = (ANY,)
    place: float = 0.0
    held: bool = False
    home: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A queued run: its folder, its place, whether its waiting process lives, and what it waits for, in words."""

    folder: RunFolder
    asked: Place
    waiter: bool
    why: str | None = None

    def as_dict(self, position: int) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "position": position,
            "id": self.folder.id,
            "gpus": ",".join(self.asked.gpus),
            "held": self.asked.held,
            "waiting_process": self.waiter,
            "waits_for": self.why,
        }


@contextlib.contextmanager
def order_lock(home: Path, patience: float = _PATIENCE) -> Iterator[None]:
    """Hold the order of the queue.

    Raises:
        EnvironmentProblem: the lock cannot be had.
    """
    path = home / _LOCK
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise EnvironmentProblem("The queue cannot be locked.", where=str(path), why=error.strerror) from error
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() >= deadline or not isinstance(error, BlockingIOError):
                    raise EnvironmentProblem(
                        "The queue cannot be locked.", where=str(path), why=error.strerror
                    ) from error
            time.sleep(0.02)
        yield
    finally:
        os.close(fd)


def home_of(folder: RunFolder) -> Path:
    """The home a run lies in."""
    return folder.path.parent.parent


def read_place(folder: RunFolder) -> Place:
    """A run's place; where the file cannot be read, the front: nothing is lost by it but the order."""
    try:
        said = json.loads((folder.path / FILE).read_bytes())
        gpus = tuple(str(name) for name in said["gpus"]) or (ANY,)
        return Place(gpus, float(said["place"]), bool(said["held"]), str(said.get("home", "")))
    except (OSError, ValueError, TypeError, KeyError):
        return Place(home=str(home_of(folder)))


def write_place(folder: RunFolder, place: Place) -> None:
    """Write a run's place, whole.

    Raises:
        EnvironmentProblem: it cannot be written.
    """
    try:
        write_whole(folder.path / FILE, (json.dumps(asdict(place)) + "\n").encode())
    except OSError as error:
        raise EnvironmentProblem(
            "A run's place in the queue cannot be written.", where=str(folder.path / FILE), why=error.strerror
        ) from error


def add(
    folder: RunFolder, gpus: Sequence[str], by: str, *, first: bool = False, expected: RunState | None = None
) -> bool:
    """Put a run at the end of the queue, or as the first; `launch.start_waiting` then starts its waiting process.

    With `expected`, a run whose state is another by now is left alone; returns whether it was queued.

    Raises:
        RunFailed: the run is alive.
        EnvironmentProblem: it cannot be written.
    """
    home = home_of(folder)
    with order_lock(home), RunLock(folder.lock_file):
        if expected is not None and _state_of_held(folder) is not expected:
            return False
        places = [entry.asked.place for entry in entries(home)]
        place = min(places, default=1.0) - 1.0 if first else max(places, default=0.0) + 1.0
        write_place(folder, Place(tuple(gpus), place, home=str(home)))
        with JournalWriter(folder.journal_file) as journal:
            journal.write("queued", gpus=",".join(gpus), by=by)
    return True


def state_of(folder: RunFolder) -> tuple[RunState, str | None]:
    """A run's state, and what it says it is doing, from the end of its journal."""
    watch = RunWatch(folder, ends_only=_GLANCE)
    watch.refresh()
    return watch.state, watch.view.phase_detail


def _state_of_held(folder: RunFolder) -> RunState:
    """A run's state but for the lock, which this process holds."""
    watch = RunWatch(folder, ends_only=_GLANCE)
    watch.refresh()
    return watch.view.state(lock_held=False, here=here())


def entries(home: Path, *, thorough: bool = False, tidy: bool = False) -> list[Entry]:
    """The queued runs in their order.

    Args:
        home: the home folder.
        thorough: find also those whose `queue.json` is gone.
        tidy: remove the places of runs that are queued no longer. Only for the holder of the order.
    """
    listed: list[Entry] = []
    for folder in run_folders(home):
        if not (thorough or (folder.path / FILE).exists()):
            continue
        try:
            state, why = state_of(folder)
            if state is RunState.QUEUED:
                listed.append(Entry(folder, read_place(folder), is_held(folder.lock_file), why))
            elif tidy and state is not RunState.CREATED:
                leave(folder)
        except GardenError:
            continue  # a broken folder is no reason for the others to wait
    return sorted(listed, key=lambda entry: (entry.asked.place, entry.folder.id))


def position(folder: RunFolder) -> int | None:
    """A queued run's place in the order, from 1; None when it is not queued."""
    ids = [entry.folder.id for entry in entries(home_of(folder), thorough=True)]
    return ids.index(folder.id) + 1 if folder.id in ids else None


def leave(folder: RunFolder) -> None:
    """Forget a run's place, once its worker has started or it was cancelled."""
    with contextlib.suppress(OSError):
        (folder.path / FILE).unlink(missing_ok=True)


def hold(folder: RunFolder, held: bool) -> None:
    """Let a queued run wait until it is released, or release it.

    Raises:
        UsageError: the run is not queued.
    """
    with order_lock(home_of(folder)):
        _require_queued(folder)
        write_place(folder, replace(read_place(folder), held=held))


def move(folder: RunFolder, position: int) -> int:
    """Move a queued run to a position (from 1; larger than the queue: the end). Returns where it is then.

    Raises:
        UsageError: the run is not queued.
    """
    home = home_of(folder)
    with order_lock(home):
        _require_queued(folder)
        queued = entries(home, thorough=True)
        mine = next(entry for entry in queued if entry.folder == folder)
        others = [entry for entry in queued if entry is not mine]
        at = min(max(position - 1, 0), len(others))
        order = [*others[:at], mine, *others[at:]]
        for number, entry in enumerate(order, start=1):
            if entry.asked.place != number:
                write_place(entry.folder, replace(entry.asked, place=float(number)))
        return at + 1


def cancel(folder: RunFolder, by: str, timeout: float = 10.0) -> bool:
    """Take a run out of the queue, whether or not its waiting process lives; returns whether it is out.

    Raises:
        EnvironmentProblem: it cannot be written.
    """
    deadline = time.monotonic() + timeout
    asked: Path | None = None
    while time.monotonic() < deadline:
        if state_of(folder)[0] is not RunState.QUEUED:
            return True
        try:
            with RunLock(folder.lock_file).acquire(patience=0.05):
                if state_of(folder)[0] is RunState.QUEUED:
                    write_cancelled(folder, by)
                return True
        except RunFailed:
            asked = asked or control.send(folder, "stop", by)
        time.sleep(0.1)
    return False


def write_cancelled(folder: RunFolder, by: str, **more: Any) -> None:
    """The end of a queued run. Only for the holder of its lock."""
    watch = RunWatch(folder, ends_only=_GLANCE)
    watch.refresh()
    saved = watch.view.checkpoints[-1].path if watch.view.checkpoints else None
    with JournalWriter(folder.journal_file) as journal:
        journal.write("stopped", step=watch.view.step, checkpoint=saved, by=by, **more)
    leave(folder)


def wake(home: Path, start: Callable[[RunFolder], object], *, thorough: bool = False) -> list[RunFolder]:
    """Start a waiting process for every queued run that has none; returns those runs.

    Args:
        home: the home folder.
        start: what starts one: `launch.start_waiting`.
        thorough: as for `entries`.
    """
    woken = []
    for entry in entries(home, thorough=thorough):
        if not entry.waiter and entry.asked.home in ("", str(home)):
            start(entry.folder)
            woken.append(entry.folder)
    return woken


def _require_queued(folder: RunFolder) -> None:
    state, _why = state_of(folder)
    if state is not RunState.QUEUED:
        raise UsageError(f"Run {folder.id} is not queued; it is {state.word}.", hint="model-garden runs queue")
