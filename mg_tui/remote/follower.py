"""Follows a server in a thread: keeps the copies of its runs current, and knows whether it is heard of."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import GardenError
from mg_tui.core.text import one_line
from mg_tui.remote.address import ServerAddress
from mg_tui.remote.connection import REQUEST_SECONDS, ApiConnection, EventStream
from mg_tui.remote.copies import JobCopies
from mg_tui.remote.problems import ServerProblem, not_a_garden, too_old
from mg_tui.remote.status import ConnectionStatus
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.lifetime import Lifetime

_PROTOCOL: Final = 1  # of `mg_tui.api.job_changes`
_SILENCE: Final = 8.0  # seconds without an event, of which one comes every second
_SHORTEST_WAIT: Final = 1.0  # seconds before a lost server is tried again; doubled each time
_LONGEST_WAIT: Final = 10.0
_LOG_PATIENCE: Final = 5.0
_CURRENT_PATIENCE: Final = 300.0  # seconds that a command waits for copies of everything


class GardenFollower:
    """A server's runs, as current as the connection is."""

    def __init__(self, address: ServerAddress, token: str | None, cache: Path):
        """
        Raises:
            EnvironmentProblem: the cache cannot be written.
        """
        self._address, self._token = address, token
        self.remote_home = ""
        self.on_status: Callable[[ConnectionStatus], None] = lambda _status: None
        self._copies = JobCopies(cache, address, token)
        self._lifetime = Lifetime()
        self._stream: EventStream | None = None
        self._current = threading.Event()
        self._known = threading.Event()  # the first word of the server, or why there is none
        self._problem: GardenError | None = None
        self._ended = threading.Event()
        self._status = ConnectionStatus(address.url, False, time.time())
        self._thread = threading.Thread(target=self._run, daemon=True, name="remote garden")

    @property
    def address(self) -> str:
        """The server's URL."""
        return self._address.url

    @property
    def home(self) -> Path:
        """The home folder with the copies."""
        return self._copies.home

    @property
    def status(self) -> ConnectionStatus:
        """How it stands with the server."""
        return self._status

    @property
    def connected(self) -> bool:
        """Whether the server was heard of lately."""
        return self._status.connected

    def describe(self, now: float) -> str:
        """How it stands with the server, on one line."""
        return self._status.describe(now)

    def start(self) -> None:
        """Connect, and follow from then on.

        Raises:
            GardenError: it cannot be reached, is no Model Garden, or wants another token.
        """
        try:
            self._stream = self._open()
        except GardenError:
            self._copies.close()
            raise
        self._thread.start()
        self._known.wait(_SILENCE)
        if (problem := self._problem) is not None:
            self.close()
            raise problem

    def close(self) -> None:
        """Stop following."""
        self._ended.set()
        if (stream := self._stream) is not None:
            stream.close()
        if self._thread.is_alive():
            self._thread.join(5.0)
        self._copies.close()

    def connect(self, *, timeout: float = REQUEST_SECONDS) -> ApiConnection:
        """A connection for one command. `timeout`: seconds that an answer may take."""
        return ApiConnection(self._address, self._token, timeout=timeout)

    def unreadable(self, what: str) -> GardenError:
        """The error for an answer that cannot be read. `what`: "its report"."""
        return not_a_garden(self._address, f"{what} cannot be read")

    # --- what front ends ask of runs, see `mg_tui.runs.elsewhere.Elsewhere`

    @property
    def lifetime(self) -> Lifetime:
        """The boot and container of the server's machine."""
        return self._lifetime

    def path_of(self, folder: RunFolder) -> str:
        """Where the original is."""
        return f"{self.remote_home}/{folder.parent}/{folder.id}"

    def has_process(self, run_id: str) -> bool:
        """Whether a worker or a waiting process has the run, as of the last word."""
        return self._copies.has_process(run_id)

    def seconds_silent(self, run_id: str) -> float | None:
        """How long nothing has been heard from the worker, or from the server."""
        status = self._status
        if not status.connected:
            return max(time.time() - (status.last_seen or status.since), 0.0)
        return self._copies.seconds_silent(run_id)

    def want_log(self, run_id: str) -> None:
        """Copy the log of this run for the next seconds."""
        self._copies.want_log(run_id)

    def why_silent(self) -> str | None:
        """Why nothing is heard from the server; None while it answers."""
        status = self._status
        return None if status.connected else f"not connected to {status.address}: {status.why}"

    def wait_for_log(self, run_id: str) -> None:
        """Copy the log of this run; return when its end is here, or the server does not answer."""
        self.want_log(run_id)
        deadline = time.monotonic() + _LOG_PATIENCE
        while self._copies.lacks_log(run_id) and self._status.connected and time.monotonic() < deadline:
            if self._ended.wait(0.02):
                return

    def wait_until_current(self) -> None:
        """Return when the copies are as new as the originals.

        Raises:
            ServerProblem: the server was lost, or it takes too long.
        """
        deadline = time.monotonic() + _CURRENT_PATIENCE
        while not self._current.wait(0.05):
            status = self._status
            if self._ended.is_set() or not status.connected or time.monotonic() > deadline:
                why = status.why or "its runs could not be read in time"
                raise ServerProblem("The server's runs cannot be read.", where=self.address, why=why)

    # --- the thread

    def _run(self) -> None:
        wait = _SHORTEST_WAIT
        while not self._ended.is_set():
            stream, self._stream = self._stream, None
            try:
                self._follow(stream or self._open())
                why = "the server ended the connection"
                problem: GardenError = ServerProblem("The connection was lost.", where=self.address, why=why)
            except GardenError as error:
                problem = error
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                problem = not_a_garden(self._address, f"its answer cannot be read ({type(error).__name__})")
            wait = _SHORTEST_WAIT if self._status.connected else min(wait * 2, _LONGEST_WAIT)
            self._lose(problem, wait)
            self._ended.wait(wait)

    def _open(self) -> EventStream:
        connection = ApiConnection(self._address, self._token)
        try:
            return connection.follow("/training/changes", silence=_SILENCE)
        except GardenError as error:
            connection.close()
            if getattr(error, "status", None) == 404:  # it is one of ours, and does not know this
                with self.connect() as another:
                    health = another.get("/health")
                raise too_old(self._address, str(health.get("version", "an older version"))) from None
            raise

    def _follow(self, stream: EventStream) -> None:
        self._stream = stream
        try:
            for kind, data in stream.events():
                if self._ended.is_set():
                    return
                self._seen()
                if kind == "garden":
                    self._take_garden(data)
                elif kind == "jobs":
                    self._copies.take(data)
                    self._known.set()
                    self._copy()
        finally:
            self._stream = None
            stream.close()

    def _take_garden(self, data: Mapping[str, Any]) -> None:
        if data.get("protocol") != _PROTOCOL:
            raise too_old(self._address, str(data.get("version", "another version")))
        self.remote_home = one_line(str(data["home"]))
        lifetime = data["lifetime"]
        self._lifetime = Lifetime(lifetime.get("boot"), lifetime.get("container"))

    def _copy(self) -> None:
        """Copy what is new, in rounds: journals of long runs come in several parts."""
        while not self._ended.is_set():
            behind, came = self._copies.copy()
            self._set_status(behind=behind)
            if not (behind and came):  # everything is here, or what is missing cannot be read there
                self._current.set()
                return
            self._current.clear()
            self._seen()

    # --- status

    def _seen(self) -> None:
        now = time.time()
        if not self._status.connected:
            self._set_status(connected=True, since=now, last_seen=now, why="", retry_at=None)
        else:
            self._set_status(last_seen=now)

    def _lose(self, problem: GardenError, wait: float) -> None:
        if self._ended.is_set():
            return
        self._current.clear()
        if not self._known.is_set():
            self._problem = problem
            self._known.set()
        now = time.time()
        why = problem.summary() if isinstance(problem, ServerProblem) else problem.what
        since = now if self._status.connected else self._status.since
        self._set_status(connected=False, since=since, why=why, retry_at=now + wait)

    def _set_status(self, **changes: Any) -> None:
        before, self._status = self._status, replace(self._status, **changes)
        if before.connected != self._status.connected:
            self.on_status(self._status)
