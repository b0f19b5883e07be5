"""Requests from faces to a worker: small files in the run's `control/` folder, seen by the worker and removed.

A file appears whole (written beside and renamed) and vanishes when it is seen; the worker then acknowledges it with a
`request` event. Requests left by a face when no worker was alive are cleared when one is launched.
"""

import contextlib
import getpass
import json
import os
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.core.files import write_atomic
from mg_tui.runs.folder import RunFolder

RequestName = Literal["stop", "checkpoint", "stop_now"]
REQUESTS: Final[tuple[str, ...]] = get_args(RequestName)


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """What somebody asked of a worker, who, and when (Unix time in seconds)."""

    request: RequestName
    by: str
    t: float


def requester(face: str) -> str:
    """Who asks, for the journal: `user@host (face)`."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} ({face})"


def send_request(folder: RunFolder, request: RequestName, by: str) -> Path:
    """Ask something of a run's worker. Returns the request's file, which vanishes when the worker has seen it.

    Raises:
        ValueError: there is no such request.
        EnvironmentProblem: it could not be written.
    """
    if request not in REQUESTS:
        raise ValueError(f"unknown request {request!r}; expected one of {', '.join(REQUESTS)}")
    path = folder.control_dir / f"{time.time_ns():020d}-{request}-{secrets.token_hex(2)}.json"
    try:
        folder.control_dir.mkdir(exist_ok=True)
        write_atomic(path, json.dumps({"request": request, "by": by, "t": time.time()}).encode())
    except OSError as error:
        raise EnvironmentProblem(
            "Cannot write the request to the run folder.", where=str(folder.control_dir), why=error.strerror
        ) from error
    return path


def is_pending(folder: RunFolder, request: RequestName) -> bool:
    """Whether such a request lies there that the worker has not seen yet."""
    return any(_is_request_file(path.name) for path in folder.control_dir.glob(f"*-{request}-*.json"))


def wait_until_seen(path: Path, timeout: float) -> bool:
    """Whether the worker has seen a request by the time `timeout` seconds have passed."""
    deadline = time.monotonic() + timeout
    while path.exists():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


class ControlInbox:
    """The worker's side. `take` is cheap enough to be called at every step."""

    def __init__(self, folder: RunFolder):
        self._dir = folder.control_dir
        self.ignored = 0

    def take(self) -> list[ControlRequest]:
        """The requests that came, oldest first, each removed; a file that is no request is renamed and counted."""
        try:
            names = sorted(entry.name for entry in os.scandir(self._dir) if _is_request_file(entry.name))
        except OSError:
            return []
        return [request for name in names if (request := self._take_one(self._dir / name)) is not None]

    def clear(self) -> int:
        """Remove requests that nobody was there to see; returns how many."""
        return len(self.take())

    def _take_one(self, path: Path) -> ControlRequest | None:
        try:
            record = json.loads(path.read_bytes())
            if record["request"] not in REQUESTS:
                raise ValueError("unknown request")
            request = ControlRequest(record["request"], str(record.get("by", "?")), float(record.get("t", 0.0)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError):
            self.ignored += 1
            with contextlib.suppress(OSError):
                path.rename(path.with_name(path.name + ".ignored"))
            return None
        try:
            path.unlink(missing_ok=True)
        except OSError:  # it cannot be removed, so it would be obeyed for ever
            self.ignored += 1
            return None
        return request


def _is_request_file(name: str) -> bool:
    return name.endswith(".json") and not name.startswith(".")
