"""Which copies of a server's runs there are, what is new of each, and what the server says beside their files."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mg_tui.remote.address import ServerAddress
from mg_tui.remote.connection import ApiConnection
from mg_tui.remote.mirror import LOG_END, Mirror, is_run_id

_JOBS_PER_REQUEST: Final = 40
_LONG_JOURNAL: Final = 8 << 20  # bytes that are missing, from which on a run waits until the others are copied
_LOG_WANTED: Final = 10.0  # seconds that a log is copied for after somebody asked


class JobCopies:
    """The copies of a server's runs, and how to make them current. `copy` is called by one thread."""

    def __init__(self, cache: Path, address: ServerAddress, token: str | None):
        """
        Raises:
            EnvironmentProblem: the cache cannot be written.
        """
        self._mirror = Mirror(cache, address)
        self._connection = ApiConnection(address, token)
        self._jobs: dict[str, Mapping[str, Any]] = {}  # what the server said last
        self._live: dict[str, tuple[bool, float | None]] = {}  # of runs whose copies have caught up: process, silence
        self._wanted_logs: dict[str, float] = {}

    @property
    def home(self) -> Path:
        """The home folder with the copies."""
        return self._mirror.home

    def close(self) -> None:
        """Give the copies to other processes."""
        self._connection.close()
        self._mirror.close()

    # --- what is asked, in any thread

    def has_process(self, run_id: str) -> bool:
        """Whether a worker or a waiting process has the run, as of the last word."""
        return self._live.get(run_id, (False, None))[0]

    def seconds_silent(self, run_id: str) -> float | None:
        """How long the worker has not responded, as of the last word."""
        return self._live.get(run_id, (False, None))[1]

    def want_log(self, run_id: str) -> None:
        """Copy the log of this run for the next seconds."""
        self._wanted_logs[run_id] = time.monotonic()

    def lacks_log(self, run_id: str) -> bool:
        """Whether nothing of a log has been copied that there is."""
        job = self._jobs.get(run_id)
        return job is not None and int(job["log"]) > 0 and self._mirror.copied(run_id)[2] is None

    # --- what the server sends, in one thread

    def take(self, data: Mapping[str, Any]) -> None:
        """An event of `/training/changes`.

        Raises:
            ValueError, TypeError, KeyError: it is none.
        """
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
            if job["held"]:  # before the event of its start is copied; that it has no process any more, after its end
                self._note(id, job)

    def copy(self) -> tuple[int, bool]:
        """Copy the next part of what is new; returns how many runs were behind before it, and whether anything came.

        Raises:
            GardenError: the server was lost, or a copy cannot be written.
            ValueError, TypeError, KeyError: an answer is none.
        """
        behind = self._behind()
        self._settle(behind)
        logs = self._logs_to_copy()
        ids = list(dict.fromkeys([*logs, *behind]))[:_JOBS_PER_REQUEST]
        return len(behind), bool(ids) and self._copy_some(ids, logs) > 0

    def _behind(self) -> list[str]:
        """Runs whose copies are not complete: the newest first, very long journals last."""
        behind = [
            (int(job["journal"]) - self._mirror.copied(id)[0] > _LONG_JOURNAL, id)
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
                self._note(id, job)
        for id in [id for id in self._live if id not in self._jobs]:
            del self._live[id]

    def _note(self, id: str, job: Mapping[str, Any]) -> None:
        silent = job["silent"]
        self._live[id] = (bool(job["held"]), None if silent is None else float(silent))

    def _logs_to_copy(self) -> list[str]:
        now = time.monotonic()
        wanted = []
        for id, asked in list(self._wanted_logs.items()):
            if now - asked > _LOG_WANTED:
                self._wanted_logs.pop(id, None)
                continue
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
        answer = self._connection.get("/training/files", {"job": asked})
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
