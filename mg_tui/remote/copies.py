"""Follows a server and keeps the copies of its runs current; says of each run what its folder alone does not."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import GardenError
from mg_tui.remote.address import ServerAddress
from mg_tui.remote.connection import ApiConnection, EventStream
from mg_tui.remote.mirror import LOG_END, Mirror, is_run_id
from mg_tui.remote.problems import ServerProblem, not_a_garden, too_old
from mg_tui.remote.status import ConnectionStatus
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.lifetime import Lifetime

_PROTOCOL: Final = 1  # of `mg_tui.api.job_changes`
_SILENCE: Final = 8.0  # seconds without an event, of which one comes every second
_SHORTEST_WAIT: Final = 1.0  # seconds before a lost server is tried again; doubled each time
_LONGEST_WAIT: Final = 10.0
_JOBS_PER_REQUEST: Final = 40
_LOG_WANTED: Final = 10.0  # seconds that a log is copied for after somebody asked
_LOG_PATIENCE: Final = 5.0
_CURRENT_PATIENCE: Final = 300.0  # seconds that a command waits for copies of everything


class GardenCopies:
    """Follows a server in a thread and keeps the copies of its runs current."""

    def __init__(self, address: ServerAddress, token: str | None, cache: Path):
        self._address, self._token = address, token
        self.remote_home = ""
        self._lifetime = Lifetime()
        self.on_status: Callable[[ConnectionStatus], None] = lambda _status: None
        self._mirror = Mirror(cache, address)
        self._jobs: dict[str, Mapping[str, Any]] = {}  # what the server said last
        self._live: dict[str, tuple[bool, float | None]] = {}  # of runs whose copies have caught up: process, silence
        self._wanted_logs: dict[str, float] = {}
        self._files = ApiConnection(address, token)
        self._stream: EventStream | None = None
        self._current = threading.Event()
        self._known = threading.Event()  # the first word of the server, or why there is none
        self._problem: GardenError | None = None
        self._wake = threading.Event()
        self._closed = False
        self._status = ConnectionStatus(address.url, False, time.time())
        self._thread = threading.Thread(target=self._run, daemon=True, name="remote garden")

    @property
    def address(self) -> str:
        """The server's URL."""
        return self._address.url

    @property
    def home(self) -> Path:
        """The home folder with the copies."""
        return self._mirror.home

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
            self._mirror.close()
            raise
        self._thread.start()
        self._known.wait(_SILENCE)
        if (problem := self._problem) is not None:
            self.close()
            raise problem

    def close(self) -> None:
        """Stop following."""
        self._closed = True
        self._wake.set()
        if self._stream is not None:
            self._stream.close()
        if self._thread.is_alive():
            self._thread.join(5.0)
        self._files.close()
        self._mirror.close()

    def connect(self) -> ApiConnection:
        """A connection for one command."""
        return ApiConnection(self._address, self._token)

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
        return self._live.get(run_id, (False, None))[0]

    def seconds_silent(self, run_id: str) -> float | None:
        """How long nothing has been heard from the worker, or from the server."""
        status = self._status
        if not status.connected:
            return max(time.time() - (status.last_seen or status.since), 0.0)
        return self._live.get(run_id, (False, None))[1]

    def why_silent(self) -> str | None:
        """Why nothing is heard from the server; None while it answers."""
        status = self._status
        return None if status.connected else f"not connected to {status.address}: {status.why}"

    def want_log(self, run_id: str) -> None:
        """Copy the log of this run for the next seconds."""
        fresh = run_id not in self._wanted_logs
        self._wanted_logs[run_id] = time.monotonic()
        if fresh:
            self._wake.set()

    def wait_for_log(self, run_id: str) -> None:
        """Copy the log of this run; return when its end is here, or the server does not answer."""
        self.want_log(run_id)
        deadline = time.monotonic() + _LOG_PATIENCE
        while self._status.connected and not self._closed and time.monotonic() < deadline:
            job, copied = self._jobs.get(run_id), self._mirror.copied(run_id)[2]
            if job is None or not job["log"] or copied is not None:
                return
            time.sleep(0.02)

    def wait_until_current(self) -> None:
        """Return when the copies are as new as the originals.

        Raises:
            ServerProblem: the server was lost, or it takes too long.
        """
        deadline = time.monotonic() + _CURRENT_PATIENCE
        while not self._current.wait(0.05):
            status = self._status
            if self._closed or not status.connected or time.monotonic() > deadline:
                why = status.why or "its runs could not be read in time"
                raise ServerProblem("The server's runs cannot be read.", where=self.address, why=why)

    # --- the thread

    def _run(self) -> None:
        wait = _SHORTEST_WAIT
        while not self._closed:
            stream, self._stream = self._stream, None
            try:
                self._follow(stream or self._open())
                problem: GardenError = ServerProblem(
                    "The connection was lost.", where=self.address, why="the server ended the connection"
                )
                wait = _SHORTEST_WAIT
            except GardenError as error:
                problem = error
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                problem = not_a_garden(self._address, f"its answer cannot be read ({type(error).__name__})")
            if self._status.connected:
                wait = _SHORTEST_WAIT
            self._lose(problem, wait)
            self._wake.wait(wait)
            self._wake.clear()
            wait = min(wait * 2, _LONGEST_WAIT)

    def _open(self) -> EventStream:
        connection = ApiConnection(self._address, self._token)
        try:
            return connection.follow("/training/changes", silence=_SILENCE)
        except GardenError as error:
            connection.close()
            if getattr(error, "status", None) == 404:  # it is one of ours, and does not know this
                health = self._files.get("/health")
                raise too_old(self._address, str(health.get("version", "an older version"))) from None
            raise

    def _follow(self, stream: EventStream) -> None:
        self._stream = stream
        try:
            for kind, data in stream.events():
                if self._closed:
                    return
                self._seen()
                if kind == "garden":
                    self._take_garden(data)
                elif kind == "jobs":
                    self._take_jobs(data)
                    self._known.set()
                    self._copy()
        finally:
            self._stream = None
            stream.close()

    def _take_garden(self, data: Mapping[str, Any]) -> None:
        if data.get("protocol") != _PROTOCOL:
            raise too_old(self._address, str(data.get("version", "another version")))
        self.remote_home = str(data["home"])
        lifetime = data["lifetime"]
        self._lifetime = Lifetime(lifetime.get("boot"), lifetime.get("container"))

    def _take_jobs(self, data: Mapping[str, Any]) -> None:
        jobs = {job["id"]: job for job in data["jobs"] if is_run_id(job["id"])}
        if data["full"]:
            self._jobs = jobs
        else:
            self._jobs = {id: job for id, job in self._jobs.items() if id not in data["gone"]} | jobs
        if data["full"] or data["gone"]:
            self._mirror.keep_only(self._jobs.keys())
        for id, job in jobs.items():
            if self._mirror.copied(id)[0] > int(job["journal"]):
                self._mirror.start_over(id)

    def _copy(self) -> None:
        """Copy what is new, in rounds: journals of long runs come in several parts."""
        while not self._closed:
            behind = self._behind()
            self._settle(behind)
            logs = self._logs_to_copy()
            if not (behind or logs):
                return
            ids = list(dict.fromkeys([*logs, *behind]))[:_JOBS_PER_REQUEST]
            if not self._copy_some(ids, logs) and not behind:
                return

    def _behind(self) -> list[str]:
        """Runs whose copies are not complete: the newest first, very long journals last."""
        behind = [
            (int(job["journal"]) - self._mirror.copied(id)[0] > 8 << 20, id)
            for id, job in self._jobs.items()
            if not self._mirror.is_complete(id, int(job["journal"]), str(job["files"]))
        ]
        behind.sort(key=lambda item: item[1], reverse=True)
        return [id for _long, id in sorted(behind, key=lambda item: item[0])]

    def _settle(self, behind: Sequence[str]) -> None:
        """What the server says of processes holds for copies that have what it was made from."""
        waiting = set(behind)
        for id, job in self._jobs.items():
            if id not in waiting:
                silent = job["silent"]
                self._live[id] = (bool(job["held"]), None if silent is None else float(silent))
        for id in [id for id in self._live if id not in self._jobs]:
            del self._live[id]
        if len(behind) != self._status.behind:
            self._set_status(behind=len(behind))
        if behind:
            self._current.clear()
        else:
            self._current.set()

    def _logs_to_copy(self) -> list[str]:
        now = time.monotonic()
        self._wanted_logs = {id: at for id, at in self._wanted_logs.items() if now - at < _LOG_WANTED}
        wanted = []
        for id in self._wanted_logs:
            job, copied = self._jobs.get(id), self._mirror.copied(id)[2]
            if job is not None and (copied is None or copied != int(job["log"])):
                wanted.append(id)
        return wanted

    def _copy_some(self, ids: Sequence[str], logs: Sequence[str]) -> int:
        """One request for what is new of some runs; returns how much that was."""
        asked = []
        for id in ids:
            journal, tag, log = self._mirror.copied(id)
            wanted_log = "-" if id not in logs else LOG_END if log is None else str(log)
            files = "-" if tag == self._jobs[id]["files"] else "all"
            asked.append(f"{id},{journal},{wanted_log},{files}")
        answer = self._files.get("/training/files", {"job": asked})
        self._seen()
        news = 0
        for record in answer["data"]:
            job = self._jobs.get(record["id"])
            if job is not None:
                news += self._mirror.write(record, journal=int(job["journal"]), tag=str(job["files"]))
        self._forget_unsent(ids, answer)
        return news

    def _forget_unsent(self, ids: Iterable[str], answer: Mapping[str, Any]) -> None:
        """Runs that the server no longer has: it says so in the next event as well."""
        sent = {record["id"] for record in answer["data"]}
        if not answer["has_more"]:
            for id in set(ids) - sent:
                self._jobs.pop(id, None)

    # --- status

    def _seen(self) -> None:
        now = time.time()
        if not self._status.connected:
            self._set_status(connected=True, since=now, last_seen=now, why="", retry_at=None)
        else:
            self._set_status(last_seen=now)

    def _lose(self, problem: GardenError, wait: float) -> None:
        if self._closed:
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
