"""Files that callers uploaded: one folder each under `<home>/uploads`, written once and never changed."""

import contextlib
import json
import re
import secrets
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final

from mg_tui.api.errors import ApiError, not_found
from mg_tui.core.errors import EnvironmentProblem
from mg_tui.core.files import fsync_folder
from mg_tui.core.text import one_line

UPLOADS_FOLDER: Final = "uploads"
ENDINGS: Final = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
_ID: Final = re.compile(r"file-[0-9a-f]{24}")
_META: Final = "file.json"
_NEW: Final = ".new-"


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

    def save(self, source: IO[bytes], filename: str, *, max_bytes: int) -> UploadedFile:
        """Keep a file. It is visible once it is complete.

        Raises:
            ApiError: its name has no ending of a dataset, or it is empty or too large.
            EnvironmentProblem: it cannot be written.
        """
        ending = Path(filename).suffix.lower()
        if ending not in ENDINGS:
            raise ApiError(400, "wrong-file-type", f"file: give a dataset as {', '.join(ENDINGS)}")
        file_id = f"file-{secrets.token_hex(12)}"
        unfinished = self._folder / f"{_NEW}{file_id}"
        try:
            unfinished.mkdir(parents=True)
            target = unfinished / f"data{ending}"
            size = _copy(source, target, max_bytes)
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
        hidden = self._folder / f".removed-{file.id}"
        try:
            (self._folder / file.id).rename(hidden)
            shutil.rmtree(hidden)
        except OSError as error:
            raise EnvironmentProblem("Cannot delete the file.", where=str(hidden), why=error.strerror) from error


def _copy(source: IO[bytes], target: Path, max_bytes: int) -> int:
    size = 0
    with target.open("wb") as out:
        while part := source.read(1 << 20):
            size += len(part)
            if size > max_bytes:
                raise ApiError(413, "body-too-large", f"file: give at most {max_bytes:,} bytes")
            out.write(part)
    if not size:
        raise ApiError(400, "empty-file", "file: it is empty")
    return size
