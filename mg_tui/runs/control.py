"""Requests from front ends to a worker: small files in the run's `control/` folder that the worker reads and removes.

A file is written atomically and removed when it has been read; the worker then acknowledges it with a `request` event.
Requests made while no worker was running are cleared when one is launched.
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
from mg_tui.runs.elsewhere import require_here
from mg_tui.runs.folder import RunFolder

RequestName = Literal["stop", "checkpoint", "stop_now"]
REQUESTS: Final[tuple[str, ...]] = get_args(RequestName)


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """A request to a worker, its requester, and its time (Unix time in seconds)."""

    request: RequestName
    by: str
    t: float


def requester(face: str) -> str:
    """The requester, for the journal: `user@host (face)`."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} ({face})"


def send_request(folder: RunFolder, request: RequestName, by: str) -> Path:
    """Send a request to a run's worker. Returns the request's file, which the worker removes when it has read it.

    Raises:
        ValueError: an unknown request.
        EnvironmentProblem: it could not be written.
    """
    if request not in REQUESTS:
        raise ValueError(f"unknown request {request!r}; expected one of {', '.join(REQUESTS)}")
    require_here(folder, "Writing a request")
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
    """Whether there is such a request that the worker has not read yet."""
    return any(_is_request_file(path.name) for path in folder.control_dir.glob(f"*-{request}-*.json"))


def wait_until_seen(path: Path, timeout: float) -> bool:
    """Wait at most `timeout` seconds for the worker to read a request; returns whether it did."""
    deadline = time.monotonic() + timeout
    while path.exists():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


class ControlInbox:
    """The worker's side. `take` is cheap enough to call at every step."""

    def __init__(self, folder: RunFolder):
        self._dir = folder.control_dir
        self.ignored = 0

    def take(self) -> list[ControlRequest]:
        """New requests, oldest first; their files are removed. An invalid file is renamed and counted in `ignored`."""
        try:
            names = sorted(entry.name for entry in os.scandir(self._dir) if _is_request_file(entry.name))
        except OSError:
            return []
        return [request for name in names if (request := self._take_one(self._dir / name)) is not None]

    def clear(self) -> int:
        """Remove requests made while no worker was running; returns how many."""
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
        except OSError:  # it cannot be removed and would be repeated forever
            self.ignored += 1
            return None
        return request


def _is_request_file(name: str) -> bool:
    return name.endswith(".json") and not name.startswith(".")
