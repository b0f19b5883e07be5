"""Idempotency keys: a creation that is sent again with the same key is done once, also across a killed server.

Each key is a file named by a hash of caller, path and key. It is locked while its request is under way and says, before
anything is created, which id the resource will have: a server that finds such a file without a lock continues what the
killed one began.
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
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.lock import flock_exclusive

KEEP_SECONDS: Final = 86_400.0
_FOLDER: Final = "idempotency"
_MADE: Final = b"\nmade"  # a second line of the file, appended so that a kill leaves the first one whole
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class CreationClaim:
    """A creation under a key.

    Attributes:
        resource_id: the id that its resource has or gets.
        repeated: an earlier request chose that id.
        made: an earlier request created the resource.
    """

    resource_id: str
    repeated: bool
    made: bool = False

    def is_there(self, folder: RunFolder, noun: str) -> bool:
        """Whether the resource, in this folder, need not be created.

        Raises:
            ApiError: 410, it was created and has been deleted since.
        """
        if not self.repeated or folder.journal_file.is_file():
            return self.repeated
        if self.made:
            raise deleted(noun, self.resource_id)
        return False


def deleted(noun: str, name: str) -> ApiError:
    """410 for a resource that a key once created: creating it again is another request."""
    detail = f"The {noun} {name} of this Idempotency-Key was deleted."
    return ApiError(410, f"{noun}-deleted", detail, hint="send another key to create it again")


class IdempotencyKeys:
    """The keys of a home folder."""

    def __init__(self, home: Path):
        self._folder = home / _FOLDER
        self._tidied = 0.0

    @contextlib.contextmanager
    def claim(
        self, key: str | None, *, caller: str, path: str, body: Any, new_id: Callable[[], str]
    ) -> Iterator[CreationClaim]:
        """Hold a key while its creation is done.

        Args:
            key: the Idempotency-Key header; None claims nothing.
            caller, path: what the key is for.
            body: the request's JSON value.
            new_id: makes the resource's id.

        Raises:
            ApiError: 400, no possible key; 409, its request is under way; 422, it was used for another body.
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
            claim = self._settle(fd, _hash(json.dumps(body, sort_keys=True)), new_id)
            yield claim
            if not claim.made:  # a creation that fails does not come this far, and may be tried again
                os.pwrite(fd, _MADE, os.fstat(fd).st_size)
        finally:
            os.close(fd)

    def _settle(self, fd: int, body: str, new_id: Callable[[], str]) -> CreationClaim:
        record = _read(fd)
        if record is None:
            chosen = new_id()
            text = json.dumps({"body": body, "id": chosen, "t": time.time()}).encode()
            os.ftruncate(fd, 0)
            os.pwrite(fd, text, 0)
            os.fsync(fd)
            return CreationClaim(chosen, False)
        if record["body"] != body:
            raise ApiError(422, "idempotency-key-reused", "This Idempotency-Key was used for another request.")
        return CreationClaim(record["id"], True, made=record["made"])

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


def _read(fd: int) -> dict[str, Any] | None:
    """What a file says; None for a new one, or one whose writer was killed before it was whole."""
    try:
        text, _, rest = os.pread(fd, 4096, 0).partition(b"\n")
        record = json.loads(text)
        return {"body": str(record["body"]), "id": str(record["id"]), "made": rest == _MADE.strip()}
    except (ValueError, TypeError, KeyError):
        return None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
