"""Tells open pages that what they show has changed: one look at the runs every two seconds, however many look on.

A page knows the mark of what it shows. A follower that comes with another mark, because something changed in between or
the connection was lost for a while, hears of it at once.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Final

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from mg_tui.runs.store import RunSummary

_LOOK_SECONDS: Final = 2.0
_PING_SECONDS: Final = 15.0
_RETRY_MILLISECONDS: Final = 5000
_ALL: Final = ""  # the key of all runs together
_GONE: Final = "gone"

CHANGED_FRAME: Final = format_sse_event(event="changed", data_str="{}")


def mark_of(run: RunSummary) -> str:
    """Sixteen hexadecimal digits that change when a run's journal, state, name, note or tags do."""
    return _digest(repr((run.id, run.state.value, run.silent_seconds is None, run.view.last_number, run.annotations)))


def mark_of_all(runs: Iterable[RunSummary]) -> str:
    """The mark of a list."""
    return _digest(" ".join(map(mark_of, runs)))


class PageChanges:
    """Watches runs while somebody follows. Belongs to one event loop.

    Args:
        read: lists the runs; called in a thread.
    """

    def __init__(self, read: Callable[[], list[RunSummary]]):
        self._read = read
        self._followers = 0
        self._task: asyncio.Task[None] | None = None
        self._marks: dict[str, str] | None = None
        self._changed = asyncio.Event()

    async def follow(self, run_id: str | None, known: str) -> AsyncGenerator[bytes]:
        """A frame whenever a run, or with None any, has another mark than before; `known` is the page's."""
        self._join()
        try:
            yield format_sse_event(retry=_RETRY_MILLISECONDS)
            while True:
                changed = self._changed
                if self._marks is not None and (mark := self._marks.get(run_id or _ALL, _GONE)) != known:
                    known = mark
                    yield CHANGED_FRAME
                try:
                    await asyncio.wait_for(changed.wait(), _PING_SECONDS)
                except TimeoutError:
                    yield KEEPALIVE_COMMENT
        finally:
            self._leave()

    def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
        self._task, self._marks = None, None

    def _join(self) -> None:
        self._followers += 1
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._look())

    def _leave(self) -> None:
        self._followers -= 1
        if self._followers <= 0:
            self.close()

    async def _look(self) -> None:
        while True:
            marks = await asyncio.to_thread(self._read_marks)
            if marks != self._marks:
                self._marks = marks
                waiting, self._changed = self._changed, asyncio.Event()
                waiting.set()
            await asyncio.sleep(_LOOK_SECONDS)

    def _read_marks(self) -> dict[str, str]:
        marks = {run.id: mark_of(run) for run in self._read()}
        return {**marks, _ALL: _digest(" ".join(marks.values()))}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
