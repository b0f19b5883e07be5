"""Files that callers uploaded: one folder each under `<home>/uploads`, written once and never changed.

A file that is being received is locked, and has its size from the beginning: so it counts for others who upload at the
same time, and what a killed server left behind is told from it.
"""

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final

from mg_tui.api.errors import ApiError, not_found
from mg_tui.core.errors import EnvironmentProblem
from mg_tui.core.files import fsync_folder
from mg_tui.core.text import one_line
from mg_tui.runs.lock import flock_exclusive

UPLOADS_FOLDER: Final = "uploads"
ENDINGS: Final = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
_ID: Final = re.compile(r"file-[0-9a-f]{24}")
_META: Final = "file.json"
_NEW: Final = ".new-"
_REMOVED: Final = ".removed-"
_LOCK_FILE: Final = ".lock"
_LOCK_SECONDS: Final = 30.0
_SPARE_BYTES: Final = 1 << 30  # of the disk, which runs need to save checkpoints


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file: its id, size in bytes, upload time (Unix time), the name it was given, and its own name on disk."""

    id: str
    bytes: int
    created_at: int
    filename: str
    stored_as: str


class UploadStore:
    """The uploaded files of a home folder."""

    def __init__(self, home: Path):
        self._folder = home / UPLOADS_FOLDER

    def save(self, source: IO[bytes], filename: str, *, max_bytes: int, room: float) -> UploadedFile:
        """Keep a file. It is visible once it is complete.

        Args:
            source: its content, from the beginning on.
            filename: the name that the caller gave it.
            max_bytes: the most that one file may have.
            room: bytes that all files may take together.

        Raises:
            ApiError: its name has no ending of a dataset, it is empty or too large, or there is no room for it.
            EnvironmentProblem: it cannot be written.
        """
        ending = Path(filename).suffix.lower()
        if ending not in ENDINGS:
            raise ApiError(400, "wrong-file-type", f"file: give a dataset as {', '.join(ENDINGS)}")
        size = _size_of(source, max_bytes)
        file_id = f"file-{secrets.token_hex(12)}"
        unfinished = self._folder / f"{_NEW}{file_id}"
        target = unfinished / f"data{ending}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with contextlib.ExitStack() as opened:
                with self._locked():
                    self._require_room(size, room)
                    unfinished.mkdir()
                    out = opened.enter_context(target.open("wb"))
                    fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    out.truncate(size)
                shutil.copyfileobj(source, out, 1 << 20)
            record = UploadedFile(file_id, size, int(time.time()), one_line(filename, limit=200), target.name)
            (unfinished / _META).write_text(json.dumps(asdict(record)) + "\n", encoding="utf-8")
            unfinished.rename(self._folder / file_id)
            fsync_folder(self._folder)
        except OSError as error:
            raise EnvironmentProblem("Cannot keep the file.", where=str(self._folder), why=error.strerror) from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return record

    def find(self, file_id: str) -> UploadedFile:
        """One file.

        Raises:
            ApiError: there is none (404).
        """
        if _ID.fullmatch(file_id):
            with contextlib.suppress(OSError, ValueError, TypeError):
                return UploadedFile(**json.loads((self._folder / file_id / _META).read_bytes()))
        raise not_found("file", file_id)

    def list(self) -> list[UploadedFile]:
        """Every file, newest first."""
        found = []
        with contextlib.suppress(OSError):
            for entry in self._folder.iterdir():
                with contextlib.suppress(ApiError):
                    found.append(self.find(entry.name))
        return sorted(found, key=lambda file: (file.created_at, file.id), reverse=True)

    def path(self, file: UploadedFile) -> Path:
        """Where a file's content is."""
        return self._folder / file.id / file.stored_as

    def id_of(self, path: str) -> str | None:
        """The id of the file whose content a path is, or None."""
        parts = Path(path).parts
        return parts[-2] if len(parts) > 1 and _ID.fullmatch(parts[-2]) else None

    def delete(self, file: UploadedFile) -> None:
        """Delete a file.

        Raises:
            EnvironmentProblem: it cannot be deleted.
        """
        hidden = self._folder / f"{_REMOVED}{file.id}"
        try:
            (self._folder / file.id).rename(hidden)
            shutil.rmtree(hidden)
        except OSError as error:
            raise EnvironmentProblem("Cannot delete the file.", where=str(hidden), why=error.strerror) from error

    def remove_leftovers(self) -> None:
        """Delete what killed servers left of uploads and deletions; nothing that is being received or deleted now."""
        if not self._folder.is_dir():
            return
        with contextlib.suppress(OSError, EnvironmentProblem), self._locked():
            for left in self._folder.iterdir():
                if left.name.startswith(_REMOVED) or (left.name.startswith(_NEW) and not _is_received(left)):
                    shutil.rmtree(left, ignore_errors=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the folder, which every server of this home takes before it begins a file."""
        path = self._folder / _LOCK_FILE
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not flock_exclusive(fd, path, timeout=_LOCK_SECONDS):
                raise EnvironmentProblem("Cannot keep the file.", where=str(path), why="another upload is in the way")
            yield
        finally:
            os.close(fd)

    def _require_room(self, size: int, room: float) -> None:
        folders = [entry for entry in self._folder.iterdir() if entry.is_dir()]
        used = sum(file.stat().st_size for folder in folders for file in _files(folder))
        free = shutil.disk_usage(self._folder).free - _SPARE_BYTES
        if used + size > room:
            why = f"files take {_gib(used)} of {_gib(room)} ([server] uploads_gib)"
        elif size > free:
            why = f"the disk has {_gib(max(free, 0))} to spare"
        else:
            return
        how = "delete some that no job needs with DELETE v1/files/ID; GET v1/files lists them"
        raise ApiError(413, "uploads-full", f"file: there is no room for its {size:,} bytes: {why}; {how}")


def _is_received(folder: Path) -> bool:
    """Whether a server writes the file of an unfinished upload."""
    for file in _files(folder):
        with file.open("rb") as opened:
            try:
                fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def _files(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):  # deleted meanwhile
        return [file for file in folder.iterdir() if file.is_file()]
    return []


def _size_of(source: IO[bytes], max_bytes: int) -> int:
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    if size > max_bytes:
        raise ApiError(413, "body-too-large", f"file: give at most {max_bytes:,} bytes")
    if not size:
        raise ApiError(400, "empty-file", "file: it is empty")
    return size


def _gib(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB"
