"""The watching process: one lock per run, so that nobody watches a run twice, and an orderly end."""

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Final

from mg_tui.config import load_settings
from mg_tui.core.errors import GardenError, RunFailed, UsageError
from mg_tui.hardware.nvml import Nvml
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.lock import RunLock
from mg_tui.runs.store import run_folders
from mg_tui.runs.watch import RunWatch
from mg_tui.runs.watch_request import LOCK_FILE, STOP_FILE, WATCH_FILE, WatchRequest, read_watch_request
from mg_tui.watching.delivery import FIRST_PAUSE
from mg_tui.watching.run_watcher import RunWatcher

POLL_SECONDS: Final = 2.0
_END_BYTES: Final = 64 << 10  # of a journal, from which a run's state is read
# After SIGTERM, which the worker gets at the same moment: it writes a checkpoint, and its end is still reported.
TERM_SECONDS: Final = 8.0


class WatchProcess:
    """Watches one run, or with `everything` all runs of a home that have no process of their own.

    Args:
        folder: of the run, or the home.
        poll: seconds between two looks.
        retry_pause: seconds after a first failure.
    """

    def __init__(self, folder: Path, *, poll: float = POLL_SECONDS, retry_pause: float = FIRST_PAUSE):
        self._folder, self._poll, self._retry_pause = folder.absolute(), poll, retry_pause
        self.everything = not RunFolder(self._folder).journal_file.exists()
        self._locks: dict[str, RunLock] = {}
        self._watchers: dict[str, RunWatcher] = {}
        self._ended: dict[str, float] = {}  # when the journals of runs that have ended were changed last
        self._first_look = True  # what has ended by then is old news
        self._term_at: float | None = None
        self._nvml = Nvml()
        request = read_watch_request(self._folder)
        if request is None or not request:
            raise UsageError("There is nothing to watch for.", where=str(self._folder / WATCH_FILE))
        self._request = request

    def run(self) -> int:
        """Watch until nothing is left to do; returns the exit code.

        Raises:
            RunFailed: another process watches the run, or the home.
        """
        lock = self._lock(self._folder)
        previous = signal.signal(signal.SIGTERM, self._on_term)
        if not self.everything:
            self._add(RunFolder(self._folder), self._request)
        try:
            while not self._is_over():
                if self.everything:
                    self._find_runs()
                for watcher in list(self._watchers.values()):
                    self._tick(watcher)
                time.sleep(self._poll)
        finally:
            signal.signal(signal.SIGTERM, previous)
            asked = (self._folder / STOP_FILE).exists()
            for watcher in self._watchers.values():
                watcher.stop(for_good=asked)
            (self._folder / STOP_FILE).unlink(missing_ok=True)
            for held in (lock, *self._locks.values()):
                held.release()
        return 0

    def _lock(self, folder: Path) -> RunLock:
        lock = RunLock(folder / LOCK_FILE)
        try:
            lock.acquire(patience=0.5)
        except RunFailed:
            pid = read_pid(folder)
            raise RunFailed(
                f"{folder.name} is watched already" + (f" (process {pid})." if pid else "."),
                hint=f"end that with `model-garden watch {folder.name} --stop`, then start it again",
            ) from None
        write_pid(folder)
        return lock

    def _add(self, folder: RunFolder, request: WatchRequest) -> None:
        settings = load_settings(home=folder.home)
        watcher = RunWatcher(
            folder,
            request,
            prices=settings.cost,
            sample_gpus=lambda: self._nvml.sample()[0],
            retry_pause=self._retry_pause,
        )
        self._watchers[folder.id] = watcher
        watcher.start()

    def _find_runs(self) -> None:
        """Watch runs that are active, or were made since, unless they have a process of their own."""
        for folder in run_folders(self._folder):
            if folder.id in self._watchers or (folder.path / WATCH_FILE).exists():
                continue
            with contextlib.suppress(GardenError, OSError):
                changed = folder.journal_file.stat().st_mtime
                if self._ended.get(folder.id) == changed:
                    continue
                if self._first_look or folder.id in self._ended:
                    watch = RunWatch(folder, ends_only=_END_BYTES)
                    watch.refresh()
                    if watch.state.ended:
                        self._ended[folder.id] = changed
                        continue
                self._locks[folder.id] = self._lock(folder.path)
                self._add(folder, self._request)
        self._first_look = False

    def _tick(self, watcher: RunWatcher) -> None:
        try:
            watcher.tick()
        except GardenError as error:  # a disk that does not answer: it may come back
            sys.stderr.write(f"{error.what}\n")
        if self.everything and watcher.is_done:
            watcher.stop()
            del self._watchers[watcher.folder.id]
            with contextlib.suppress(OSError):
                self._ended[watcher.folder.id] = watcher.folder.journal_file.stat().st_mtime
            if (lock := self._locks.pop(watcher.folder.id, None)) is not None:
                lock.release()

    def _is_over(self) -> bool:
        if (self._folder / STOP_FILE).exists() or not self._folder.is_dir():
            return True
        watchers = self._watchers.values()
        if self._term_at is not None:
            told = all(watcher.has_ended and not watcher.messages_waiting for watcher in watchers)
            return told or time.monotonic() > self._term_at
        return not self.everything and all(watcher.is_done for watcher in watchers)

    def _on_term(self, _number: int, _frame: FrameType | None) -> None:
        self._term_at = self._term_at or time.monotonic() + TERM_SECONDS


def write_pid(folder: Path) -> None:
    """Write the id of this process into the lock file, for messages."""
    with contextlib.suppress(OSError):
        (folder / LOCK_FILE).write_text(json.dumps({"pid": os.getpid()}))


def read_pid(folder: Path) -> int | None:
    """The id of the process that holds, or held, the lock."""
    try:
        return int(json.loads((folder / LOCK_FILE).read_text())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
