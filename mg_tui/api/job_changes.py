"""What changes in the list of jobs, as server-sent events: for front ends on other machines that copy run folders.

One task looks at the list while anybody follows; it is the same work for one follower and for two hundred. A record
says how many bytes a job's journal has, so that a follower knows what it has not read yet; see `mg_tui.api.job_files`.
"""

import asyncio
import contextlib
import json
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fastapi.sse import format_sse_event

from mg_tui import __version__
from mg_tui.core.errors import GardenError
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.lifetime import current_lifetime
from mg_tui.runs.lock import is_held
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunSummary

# Of what is sent here and by `job_files`: a program that follows must know all of it.
PROTOCOL: Final = 1
_STEP_FILE: Final = "step.json"  # counts only after the end: a running worker writes it at every step
SMALL_FILES: Final = ("spec.json", "annotations.json", "queue.json", "devices.json", _STEP_FILE)
_POLL_SECONDS: Final = 0.5
BEAT_SECONDS: Final = 1.0  # a follower that hears nothing for several of these has lost the server
_RETRY_MILLISECONDS: Final = 3000
_REMEMBERED_REMOVALS: Final = 10_000


class JobChanges:
    """The newest record of every job, each with the number of the look at which it changed."""

    def __init__(self, home: Path, list_runs: Callable[[], Sequence[RunSummary]]):
        self._home, self._list_runs = home, list_runs
        self._records: dict[str, tuple[int, dict[str, Any]]] = {}
        self._gone: deque[tuple[int, str]] = deque(maxlen=_REMEMBERED_REMOVALS)
        self._summaries: dict[str, RunSummary] = {}
        self._look = 0
        self._followers = 0
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    async def follow(self) -> AsyncGenerator[bytes, None]:
        """An event about the garden, one with all jobs, then what changes; at least one every second."""
        self._followers += 1
        try:
            yield format_sse_event(retry=_RETRY_MILLISECONDS)
            yield _frame("garden", self._garden_record())
            reading = asyncio.ensure_future(self._read())
            while not reading.done():  # the first look at very many runs takes a while
                await asyncio.wait([reading], timeout=BEAT_SECONDS)
                yield _frame("wait", {})
            if self._task is None or self._task.done():
                self._task = asyncio.get_running_loop().create_task(self._run())
            seen, full = 0, True
            while True:
                changed = self._changed
                jobs = [record for look, record in self._records.values() if look > seen]
                gone = [] if full else [id for look, id in self._gone if look > seen]
                seen = self._look
                yield _frame("jobs", {"now": round(time.time(), 3), "full": full, "jobs": jobs, "gone": gone})
                full = False
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), BEAT_SECONDS)
        finally:
            self._followers -= 1

    def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while self._followers > 0:
            await asyncio.sleep(_POLL_SECONDS)
            await self._read()

    async def _read(self) -> None:
        with contextlib.suppress(GardenError):
            if self._update(await asyncio.to_thread(self._collect)):
                waiting, self._changed = self._changed, asyncio.Event()
                waiting.set()

    def _collect(self) -> dict[str, dict[str, Any]]:
        """The records, in a thread."""
        records = {}
        summaries = self._list_runs()
        for run in summaries:
            # An ended run that nobody wrote into is the same object as before.
            known = self._records.get(run.id)
            same = run.state.ended and self._summaries.get(run.id) is run
            settled = known is not None and same and not known[1]["held"]
            records[run.id] = known[1] if known is not None and settled else change_record(run)
        self._summaries = {run.id: run for run in summaries}
        return records

    def _update(self, records: Mapping[str, dict[str, Any]]) -> bool:
        look = self._look + 1
        changed = {id: (look, new) for id, new in records.items() if self._records.get(id, (0, None))[1] != new}
        gone = [id for id in self._records if id not in records]
        if not (changed or gone):
            return False
        self._look = look
        self._records.update(changed)
        for id in gone:
            del self._records[id]
            self._gone.append((look, id))
        return True

    def _garden_record(self) -> dict[str, Any]:
        return {
            "protocol": PROTOCOL,
            "version": __version__,
            "home": str(self._home),
            "lifetime": current_lifetime().as_dict(),
        }


def change_record(run: RunSummary) -> dict[str, Any]:
    """What a follower needs to know of a job: its state, whether a process has it, and the sizes of its files.

    The state comes first: a journal that has `journal` bytes holds every event that the state is made from. A process
    is looked for before and after: one that begins or ends meanwhile counts, so that its run is not taken for crashed.
    """
    state, silent = run.state, run.silent_seconds
    held = state is RunState.RUNNING or _has_process(run.folder)
    journal = _size(run.folder.journal_file)
    held = held or _has_process(run.folder)
    return {
        "id": run.id,
        "state": state.value,
        "held": held,
        "silent": None if silent is None else round(silent),
        "journal": journal,
        "log": _size(run.folder.log_file),
        "files": files_tag(run.folder, ended=state.ended),
    }


def files_tag(folder: RunFolder, *, ended: bool) -> str:
    """A word that changes when one of the small files does."""
    names = (name for name in SMALL_FILES if ended or name != _STEP_FILE)
    return "-".join(f"{_modified(folder.path / name):x}" for name in names)


def _has_process(folder: RunFolder) -> bool:
    with contextlib.suppress(GardenError):
        return is_held(folder.lock_file)
    return False


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116  (of every run, twice a second)
    except OSError:
        return 0


def _modified(path: Path) -> int:
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116
    except OSError:
        return 0


def _frame(event: str, data: Mapping[str, Any]) -> bytes:
    return format_sse_event(event=event, data_str=json.dumps(data, separators=(",", ":")))
