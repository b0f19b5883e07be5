"""Copies a run away: each whole checkpoint, then its journal and small files, and at the end the result.

A thread of the watching process, so that training never waits. The order makes what is at the destination a run that
can be resumed at any moment: a checkpoint's manifest is its last file, the journal follows, and an old checkpoint is
removed only when a newer one is whole.
"""

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import UsageError
from mg_tui.core.redaction import redact_target
from mg_tui.runs import checkpoint_format
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.result_place import result_folder
from mg_tui.runs.watch_request import OWN_FILES
from mg_tui.watching.copying import CopyFailed, CopyTarget
from mg_tui.watching.targets import open_target
from mg_tui.watching.watch_state import WatchState

FIRST_PAUSE: Final = 15.0  # seconds after the first failure; doubled after each
LONGEST_PAUSE: Final = 900.0
FAILED_MESSAGE_SECONDS: Final = 300.0  # of failures in a row after which a message is sent
RESULT_FOLDER: Final = "model"
# What belongs to this machine, or is of no use elsewhere.
_LEFT_OUT: Final = OWN_FILES | {"lock", "queue.json", "devices.json", "step.json", "resume.json"}
_LEFT_OUT_FOLDERS: Final = frozenset({"control", "checkpoints", RESULT_FOLDER})


class Syncer:
    """Copies one run.

    Args:
        folder: the run.
        destination: as the user gave it.
        state: what was copied before is in it.
        first_pause: seconds after a first failure.
        clock: Unix time in seconds.
    """

    def __init__(
        self,
        folder: RunFolder,
        destination: str,
        state: WatchState,
        *,
        first_pause: float = FIRST_PAUSE,
        clock: Callable[[], float] = time.time,
    ):
        self._folder, self._destination, self._state = folder, destination, state
        self._first_pause, self._clock = first_pause, clock
        self._target: CopyTarget | None = None
        self._failures = 0
        self._next = 0.0
        self._wanted = threading.Event()
        self._busy = False
        self._ended = False
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="sync", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, patience: float = 5.0) -> None:
        """End the thread; what is being copied is resumed the next time."""
        self._stopped = True
        self._wanted.set()
        if self._thread.ident is not None:
            self._thread.join(patience)

    def request(self, *, ended: bool, last_event: int) -> None:
        """Copy what is new. `ended`: the run has ended with its event `last_event`, so the result is copied too."""
        self._ended = ended
        with self._state.changing():
            self._state.sync["wanted"] = last_event
        self._wanted.set()

    @property
    def is_done(self) -> bool:
        """Whether everything that was requested is at the destination."""
        return (
            not self._busy and not self._wanted.is_set() and self._copied_to() >= int(self._state.sync.get("wanted", 0))
        )

    @property
    def failing_seconds(self) -> float:
        """For how long nothing could be copied; 0 when the last attempt succeeded."""
        since = self._state.sync.get("failing_since")
        return self._clock() - float(since) if isinstance(since, int | float) else 0.0

    def _copied_to(self) -> int:
        return int(self._state.sync.get("copied", -1))

    def copy_new(self) -> None:
        """Copy everything that is new, now.

        Raises:
            CopyFailed: something could not be copied.
        """
        wanted, ended = int(self._state.sync.get("wanted", 0)), self._ended
        if self._target is None:
            try:
                self._target = open_target(self._destination, self._folder.id)
            except UsageError as error:
                raise CopyFailed(error.what) from None
        target = self._target
        whole = self._copy_checkpoints(target)
        result = result_folder(self._folder) if ended else None
        if result is not None:
            target.put(result, _files_in(result), RESULT_FOLDER)
        self._copy_files(target)
        self._remove_old(target, whole)
        text = f"step {max(whole)} and the journal" if whole else "the journal"
        with self._state.changing():
            at = time.strftime("%H:%M", time.localtime(self._clock()))
            self._state.sync.update(
                copied=wanted,
                text=f"{text}{' and the result' if result is not None else ''}, {at}",
                problem=None,
                failing_since=None,
            )

    def _copy_checkpoints(self, target: CopyTarget) -> set[int]:
        """Copy the whole checkpoints, newest first; returns the steps that are at the destination."""
        copied: dict[str, Any] = self._state.sync.setdefault("checkpoints", {})
        whole = set()
        for folder in reversed(checkpoint_format.list_checkpoints(self._folder.checkpoints_dir)):
            step = checkpoint_format.step_of(folder) or 0
            try:
                if checkpoint_format.find_problem(folder, contents=False) is not None:
                    continue
                manifest = checkpoint_format.read_manifest(folder)
                mark = checkpoint_format.checksum(folder / checkpoint_format.MANIFEST_FILE)
                if copied.get(folder.name) != mark:
                    names = [*sorted(manifest["files"]), checkpoint_format.MANIFEST_FILE]
                    target.put(folder, names, f"checkpoints/{folder.name}")
            except (OSError, CopyFailed) as error:
                if folder.is_dir():
                    raise error if isinstance(error, CopyFailed) else CopyFailed(str(error)) from None
                continue  # retention removed it meanwhile
            with self._state.changing():
                copied[folder.name] = mark
            whole.add(step)
        return whole

    def _copy_files(self, target: CopyTarget) -> None:
        """Copy everything else, the journal up to its last whole line and last of all."""
        root = self._folder.path
        with tempfile.TemporaryDirectory(prefix="garden-sync-") as name:
            snapshot = Path(name)
            names = [name for name in _files_in(root) if _is_copied(name) and name != self._folder.journal_file.name]
            for entry in list(names):
                (snapshot / entry).parent.mkdir(parents=True, exist_ok=True)
                try:
                    shutil.copyfile(root / entry, snapshot / entry)
                except OSError:
                    names.remove(entry)  # removed meanwhile
            lines = self._folder.journal_file.read_bytes()
            (snapshot / self._folder.journal_file.name).write_bytes(lines[: lines.rfind(b"\n") + 1])
            target.put(snapshot, [*names, self._folder.journal_file.name], "")

    def _remove_old(self, target: CopyTarget, whole: set[int]) -> None:
        copied: dict[str, Any] = self._state.sync.get("checkpoints", {})
        if not whole:
            return
        here = {folder.name for folder in checkpoint_format.list_checkpoints(self._folder.checkpoints_dir)}
        for name in [name for name in copied if name not in here]:
            target.remove(f"checkpoints/{name}")
            with self._state.changing():
                del copied[name]

    def _run(self) -> None:
        while self._wanted.wait() and not self._is_stopped():
            if (pause := self._next - self._clock()) > 0:
                time.sleep(min(pause, 0.5))
                continue
            self._busy = True
            self._wanted.clear()
            try:
                self.copy_new()
                self._failures, self._next = 0, 0.0
            except Exception as error:  # whatever happens to the destination, it is tried again
                self._fail(error)
            finally:
                self._busy = False

    def _is_stopped(self) -> bool:
        return self._stopped

    def _fail(self, error: Exception) -> None:
        why = str(error) if isinstance(error, CopyFailed) else f"{type(error).__name__}: {error}"
        pause = min(self._first_pause * 2.0**self._failures, LONGEST_PAUSE)
        self._failures += 1
        self._next = self._clock() + pause
        with self._state.changing():
            self._state.sync["problem"] = why[:300]
            if not self._state.sync.get("failing_since"):
                self._state.sync["failing_since"] = self._clock()
        self._wanted.set()

    @property
    def label(self) -> str:
        """The destination without secrets."""
        return redact_target(self._destination)


def _files_in(root: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return []


def _is_copied(name: str) -> bool:
    """Whether a file of a run's folder is copied with the journal; hidden ones are being written."""
    first, *_rest = parts = name.split("/")
    return first not in _LEFT_OUT_FOLDERS and name not in _LEFT_OUT and not any(part.startswith(".") for part in parts)
