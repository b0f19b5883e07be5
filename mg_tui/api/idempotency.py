"""Idempotency keys: a creation that is sent again with the same key is done once, also across a killed server.

Each key is a file named by a hash of caller, path and key. It is locked while its request is under way and says, before
anything is created, which id the resource will have: a server that finds such a file without a lock continues what the
killed one began. A second line says that the resource was created: if it is deleted later, the key creates nothing, and
answers 410 until it is forgotten. A request that is refused leaves its key free.
"""

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mg_tui.api.errors import ApiError
from mg_tui.core.errors import EnvironmentProblem
from mg_tui.runs.evaluations import EvaluationFolder
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.lock import flock_exclusive
from mg_tui.runs.model_jobs import ModelJobFolder
from mg_tui.runs.servers import ServerFolder
from mg_tui.runs.trash import list_trash

KEEP_SECONDS: Final = 86_400.0
_KINDS: Final = (RunFolder, EvaluationFolder, ModelJobFolder, ServerFolder)
_FOLDER: Final = "idempotency"
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class CreationClaim:
    """A creation under a key: the id of its resource, and whether an earlier request chose it."""

    resource_id: str
    repeated: bool


@dataclass(frozen=True, slots=True)
class _KeyRecord:
    """What a file says: the body's hash, the resource's id, and what was created under it; None: nothing yet."""

    body: str
    id: str
    made: str | None


class IdempotencyKeys:
    """The keys of a home folder."""

    def __init__(self, home: Path):
        self._home = home
        self._folder = home / _FOLDER
        self._tidied = 0.0

    @contextlib.contextmanager
    def claim(
        self, key: str | None, *, caller: str, path: str, body: Any, new_id: Callable[[], str]
    ) -> Iterator[CreationClaim]:
        """Hold a key while its creation is done; then write down that it was, or free the key if nothing was created.

        Args:
            key: the Idempotency-Key header; None claims nothing.
            caller, path: what the key is for.
            body: the request's JSON value.
            new_id: makes the resource's id.

        Raises:
            ApiError: 400, no possible key; 409, its request is under way; 410, what it created was deleted; 422, it was
                used for another body.
            EnvironmentProblem: the key cannot be stored.
        """
        if key is None:
            yield CreationClaim(new_id(), False)
            return
        if not _KEY.fullmatch(key):
            raise ApiError(400, "bad-idempotency-key", "Idempotency-Key: give 1 to 255 printable ASCII characters.")
        self._tidy()
        file = self._folder / _hash(f"{caller}\n{path}\n{key}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EnvironmentProblem(
                "Cannot store the idempotency key.", where=str(file), why=error.strerror
            ) from error
        try:
            if not flock_exclusive(fd, file, timeout=0.0):
                raise ApiError(409, "request-under-way", "A request with this Idempotency-Key is under way.")
            record = _read(fd)
            claim = self._settle(fd, record, _hash(json.dumps(body, sort_keys=True)), new_id)
            try:
                yield claim
            except BaseException:
                if (noun := self._find(claim.resource_id)) is not None:
                    _append_made(fd, record, noun)
                else:
                    with contextlib.suppress(OSError):
                        os.ftruncate(fd, 0)
                raise
            _append_made(fd, record, self._find(claim.resource_id) or "job")
        finally:
            os.close(fd)

    def _settle(self, fd: int, record: _KeyRecord | None, body: str, new_id: Callable[[], str]) -> CreationClaim:
        if record is None:
            chosen = new_id()
            text = json.dumps({"body": body, "id": chosen, "t": time.time()}).encode()
            os.ftruncate(fd, 0)
            os.pwrite(fd, text, 0)
            os.fsync(fd)
            return CreationClaim(chosen, False)
        if record.body != body:
            raise ApiError(422, "idempotency-key-reused", "This Idempotency-Key was used for another request.")
        if self._find(record.id) is None:
            self._require_not_deleted(record)
        return CreationClaim(record.id, True)

    def _require_not_deleted(self, record: _KeyRecord) -> None:
        in_trash = any(run.id == record.id for run in list_trash(self._home))
        if record.made is None and not in_trash:
            return  # nothing was created: the server was killed before
        noun = record.made or "job"
        hint = "send another Idempotency-Key to create it again"
        raise ApiError(
            410,
            f"{noun}-deleted",
            f"The {noun} {record.id} of this Idempotency-Key was deleted.",
            hint=f"restore it from the trash, or {hint}" if in_trash else hint,
        )

    def _find(self, resource_id: str) -> str | None:
        """What the resource is, if there is one with this id."""
        for kind in _KINDS:
            if kind(self._home / kind.parent / resource_id).journal_file.is_file():
                return "job" if kind is RunFolder else kind.noun
        return None

    def _tidy(self) -> None:
        """Now and then, remove keys that are older than a day."""
        now = time.time()
        if now - self._tidied < 600:
            return
        self._tidied = now
        with contextlib.suppress(OSError):
            for file in self._folder.iterdir():
                if now - file.stat().st_mtime > KEEP_SECONDS:
                    file.unlink(missing_ok=True)


def _read(fd: int) -> _KeyRecord | None:
    """What a file says; None for a new one, or one whose writer was killed before its first line was whole."""
    first, *more = os.pread(fd, 4096, 0).split(b"\n")
    try:
        record = json.loads(first)
        made = [json.loads(line)["made"] for line in more if line.endswith(b"}")]
        return _KeyRecord(str(record["body"]), str(record["id"]), str(made[0]) if made else None)
    except (ValueError, TypeError, KeyError):
        return None


def _append_made(fd: int, before: _KeyRecord | None, noun: str) -> None:
    """Say that the resource exists, unless that was known; where it cannot be said, the next request says it."""
    if before is None or before.made is None:
        with contextlib.suppress(OSError):
            os.pwrite(fd, f"\n{json.dumps({'made': noun})}".encode(), os.fstat(fd).st_size)
            os.fsync(fd)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
