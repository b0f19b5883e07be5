"""Copies of a server's run folders in the cache: journals byte for byte, small files, and the end of logs.

Every reader of run folders works on them unchanged. A folder becomes visible when its journal has everything that was
known of it. Copies are kept: the next command reads only what is new. One process writes the kept copies; another one
beside it has copies of its own, which it deletes when it ends.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.core.files import write_atomic
from mg_tui.remote.address import ServerAddress
from mg_tui.runs.folder import RUNS_FOLDER, RunFolder
from mg_tui.runs.lock import flock_exclusive

_FOLDER: Final = "servers"  # of the cache
_TAG_FILE: Final = ".copied.json"
_LOCK_FILE: Final = "in-use.lock"
_HIDDEN_PREFIX: Final = ".copying-"
# What a server may call a run or a small file: nothing that is a path.
_RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")
_SMALL_FILES: Final = frozenset({"spec.json", "annotations.json", "queue.json", "devices.json", "step.json"})
LOG_END: Final = "end"


def is_run_id(text: object) -> bool:
    """Whether a server may call a run this."""
    return isinstance(text, str) and _RUN_ID.fullmatch(text) is not None


@dataclass(slots=True)
class _Copy:
    journal: int = 0  # bytes
    tag: str = ""  # of its small files
    log: int | None = None  # the byte of the original from which to continue; None before the end of it was copied
    visible: bool = False


class Mirror:
    """The copies of one server's runs; `home` is laid out like a home folder."""

    def __init__(self, cache: Path, address: ServerAddress):
        """
        Raises:
            EnvironmentProblem: the cache cannot be written.
        """
        try:
            folder = cache / _FOLDER
            folder.mkdir(parents=True, exist_ok=True)
            self._remove_orphans(folder)
            name = re.sub(r"[^a-z0-9]+", "-", address.host.lower())[:40] + "-" + _digest(address.url)
            self._lock: int | None = _try_lock(folder, name)
            self._own = self._lock is None  # another process has the kept copies
            self.home = folder / name
            if self._own:
                self.home = Path(tempfile.mkdtemp(prefix=f"{name}.{os.getpid()}-", dir=folder))
                _copy_runs(folder / name, self.home)
            self._runs = self.home / RUNS_FOLDER
            self._runs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentProblem(
                "Runs of the server cannot be copied.", where=str(error.filename or cache), why=error.strerror
            ) from error
        self._copies = dict(self._read_copies())

    def close(self) -> None:
        """Give the copies to other processes; delete them if they are only this one's."""
        if self._own:
            shutil.rmtree(self.home, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def copied(self, run_id: str) -> tuple[int, str, int | None]:
        """What there is of a run: bytes of its journal, the tag of its small files, and where its log continues."""
        copy = self._copies.get(run_id) or _Copy()
        return copy.journal, copy.tag, copy.log

    def is_complete(self, run_id: str, journal: int, tag: str) -> bool:
        """Whether a run is copied as far as the server said."""
        copy = self._copies.get(run_id)
        return copy is not None and copy.visible and copy.journal >= journal and copy.tag == tag

    def keep_only(self, run_ids: Collection[str]) -> None:
        """Delete the copies of all other runs."""
        for run_id in [known for known in self._copies if known not in run_ids]:
            shutil.rmtree(self._path(run_id), ignore_errors=True)
            del self._copies[run_id]

    def start_over(self, run_id: str) -> None:
        """Forget a copy that is longer than its original: that is another run, or was damaged."""
        shutil.rmtree(self._path(run_id), ignore_errors=True)
        self._copies.pop(run_id, None)

    def write(self, record: Mapping[str, Any], *, journal: int, tag: str) -> int:
        """Write what the server sent of a run; returns how many bytes and files were new.

        Args:
            record: an entry of `/training/files`.
            journal: how long the server said that its journal is; what it sends beyond that is left for later.
            tag: of the small files, if they are in the record.

        Raises:
            EnvironmentProblem: the copy cannot be written.
            ValueError, TypeError, KeyError: the record is none.
        """
        run_id = record["id"]
        if not is_run_id(run_id):
            raise ValueError("not an id of a run")
        copy = self._copies.setdefault(run_id, _Copy())
        try:
            news = self._write_parts(run_id, copy, record, journal, tag)
            if not copy.visible and copy.journal >= journal and copy.tag:
                hidden = self._path(run_id)
                copy.visible = True
                hidden.rename(self._path(run_id))
        except OSError as error:
            raise EnvironmentProblem(
                "A run of the server cannot be copied.", where=str(error.filename or self.home), why=error.strerror
            ) from error
        return news

    def _write_parts(self, run_id: str, copy: _Copy, record: Mapping[str, Any], journal: int, tag: str) -> int:
        path = self._path(run_id)
        path.mkdir(exist_ok=True)
        folder, news = RunFolder(path), 0
        # What was written since the server spoke of the run is not told from a crash without its next word.
        data = _bytes_of(record["journal"]["text"])[: max(journal - copy.journal, 0)]
        if data and record["journal"]["at"] == copy.journal:
            _append(folder.journal_file, data, at=copy.journal)
            copy.journal += len(data)
            news += len(data)
        if (log := record.get("log")) is not None:
            news += self._write_log(folder, copy, log)
        if (files := record.get("files")) is not None:
            for name in _SMALL_FILES & files.keys():
                if files[name] is None:
                    (path / name).unlink(missing_ok=True)
                else:
                    write_atomic(path / name, _bytes_of(files[name]))
            write_atomic(path / _TAG_FILE, json.dumps({"tag": tag}).encode())
            news += copy.tag != tag
            copy.tag = tag
        return news

    def _write_log(self, folder: RunFolder, copy: _Copy, log: Mapping[str, Any]) -> int:
        data, start, end = _bytes_of(log["text"]), int(log["at"]), int(log["next"])
        if copy.log is None or start != copy.log:
            folder.log_file.write_bytes(data)
        elif data:
            with folder.log_file.open("ab") as file:
                file.write(data)
        copy.log = end
        return len(data)

    def _path(self, run_id: str) -> Path:
        copy = self._copies.get(run_id)
        return self._runs / (run_id if copy is not None and copy.visible else f"{_HIDDEN_PREFIX}{run_id}")

    def _read_copies(self) -> Iterator[tuple[str, _Copy]]:
        """The copies of an earlier process; unfinished ones are deleted."""
        for entry in list(os.scandir(self._runs)):
            if not is_run_id(entry.name):
                shutil.rmtree(entry.path, ignore_errors=True)
                continue
            folder = RunFolder(Path(entry.path))
            try:
                size = folder.journal_file.stat().st_size
                tag = str(json.loads((folder.path / _TAG_FILE).read_bytes())["tag"])
            except (OSError, ValueError, KeyError, TypeError):
                shutil.rmtree(entry.path, ignore_errors=True)
                continue
            folder.log_file.unlink(missing_ok=True)  # it is not known where in the original it ends
            yield entry.name, _Copy(size, tag, None, visible=True)

    def _remove_orphans(self, folder: Path) -> None:
        """Delete the copies of processes that were killed."""
        for path in folder.glob("*.*-*"):
            number = path.name.rpartition(".")[2].partition("-")[0]
            if path.is_dir() and number.isdecimal() and not Path(f"/proc/{number}").exists():
                shutil.rmtree(path, ignore_errors=True)


def _try_lock(folder: Path, name: str) -> int | None:
    """The lock of the kept copies, or None when another process has it."""
    path = folder / f"{name}-{_LOCK_FILE}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if flock_exclusive(fd, path, timeout=0.0):
            return fd
    except EnvironmentProblem:  # a file system without locks
        pass
    os.close(fd)
    return None


def _copy_runs(source: Path, target: Path) -> None:
    """Begin with the kept copies of another process; it goes on writing them, which only makes them longer."""
    runs = target / RUNS_FOLDER
    runs.mkdir()
    with contextlib.suppress(OSError):
        for entry in os.scandir(source / RUNS_FOLDER):
            if is_run_id(entry.name):
                with contextlib.suppress(OSError, shutil.Error):
                    shutil.copytree(entry.path, runs / entry.name)


def _append(path: Path, data: bytes, *, at: int) -> None:
    with path.open("ab") as file:
        if file.tell() != at:
            raise OSError(None, "it was changed by another process", str(path))
        file.write(data)


def _bytes_of(text: str) -> bytes:
    """The bytes that the server read; see `mg_tui.api.job_files.read_bytes`."""
    return text.encode("utf-8", "surrogateescape")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
