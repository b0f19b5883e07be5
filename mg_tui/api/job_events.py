"""A job's journal as server-sent events, for many followers at the price of one reader.

One task for each followed run reads what is new of the journal a few times a second, less often for many followers;
they get the same encoded bytes, those of several events at once. A follower who begins further back reads the file
itself until it has caught up.
"""

import asyncio
import itertools
import json
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from mg_tui.core.errors import GardenError
from mg_tui.core.events import Event, json_safe
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader
from mg_tui.runs.watch import RunWatch

_POLL_SECONDS: Final = 0.2
# Every follower costs a wake and a packet at each look: 200 of them would take a tenth of a core from the run.
_POLL_SECONDS_PER_FOLLOWER: Final = 0.0015
_LONGEST_POLL_SECONDS: Final = 0.5
_PING_SECONDS: Final = 15.0
_RETRY_MILLISECONDS: Final = 3000
_KEPT_FRAMES: Final = 2_000  # newest frames that are kept for followers, of each followed run

END_FRAME: Final = format_sse_event(event="end", data_str="{}")


def event_frame(event: Event) -> bytes:
    """An event of the journal: `id` is its number, `event` its kind, `data` the line as JSON."""
    record = {"n": event.n, "t": round(event.t, 3), "kind": event.kind, **json_safe(event.data)}
    text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return format_sse_event(id=str(event.n), event=event.kind, data_str=text)


class EventFeed:
    """The newest frames of one run, and whether it has ended. `changed` is set anew after every change, and now and
    then without one: whoever wakes up and finds nothing tells its reader that the line is alive.
    """

    def __init__(self, folder: RunFolder):
        self.folder = folder
        self.followers = 0
        self.frames: deque[tuple[int, bytes]] = deque(maxlen=_KEPT_FRAMES)
        self.last_number = 0
        self.ended = False
        self.changed = asyncio.Event()
        self._watch = RunWatch(folder, thin=False)
        self._joined = (0, 0, b"")  # the frames after a number, up to another

    def frames_after(self, number: int) -> bytes | None:
        """The frames after an event's number, up to the last; None when older ones are needed than are kept."""
        if number >= self.last_number:
            return b""
        if not self.frames or self.frames[0][0] > number + 1:
            return None
        if self._joined[:2] != (number, self.last_number):  # others are likely to ask for the same
            newer = list(itertools.takewhile(lambda frame: frame[0] > number, reversed(self.frames)))
            self._joined = (number, self.last_number, b"".join(frame for _number, frame in reversed(newer)))
        return self._joined[2]

    @property
    def poll_seconds(self) -> float:
        """How long to wait between two looks at the journal."""
        return min(_POLL_SECONDS + self.followers * _POLL_SECONDS_PER_FOLLOWER, _LONGEST_POLL_SECONDS)

    async def run(self) -> None:
        """Read until the run has ended, or its folder is gone."""
        woken = time.monotonic()
        while True:
            try:
                events = await asyncio.to_thread(self._watch.refresh)
            except GardenError:
                events = []
            for event in events:
                self.frames.append((event.n, event_frame(event)))
                self.last_number = event.n
            ended = self._watch.state.ended or not self.folder.path.exists()
            if events or ended != self.ended or time.monotonic() - woken > _PING_SECONDS:
                self.ended = ended
                woken = time.monotonic()
                waiting, self.changed = self.changed, asyncio.Event()
                waiting.set()
            if ended:
                return
            await asyncio.sleep(self.poll_seconds)


class EventFeeds:
    """The feeds of the runs that are followed. Belongs to one event loop."""

    def __init__(self) -> None:
        self._feeds: dict[str, tuple[EventFeed, asyncio.Task[None]]] = {}

    async def follow(self, folder: RunFolder, after: int) -> AsyncGenerator[bytes, None]:
        """Frames after event number `after`, as they come, until the run has ended; then an `end` event."""
        feed = self._join(folder)
        try:
            yield format_sse_event(retry=_RETRY_MILLISECONDS)
            async for frame in _frames(feed, after):
                yield frame
        finally:
            self._leave(feed)

    def close(self) -> None:
        """Stop reading."""
        for _feed, task in self._feeds.values():
            task.cancel()
        self._feeds.clear()

    def _join(self, folder: RunFolder) -> EventFeed:
        feed, task = self._feeds.get(folder.id, (None, None))
        if feed is None or (task is not None and task.done()):
            feed = EventFeed(folder)
            self._feeds[folder.id] = (feed, asyncio.get_running_loop().create_task(feed.run()))
        feed.followers += 1
        return feed

    def _leave(self, feed: EventFeed) -> None:
        feed.followers -= 1
        current, task = self._feeds.get(feed.folder.id, (None, None))
        if feed.followers <= 0 and current is feed and task is not None:
            task.cancel()
            del self._feeds[feed.folder.id]


async def _frames(feed: EventFeed, after: int) -> AsyncIterator[bytes]:
    reader: JournalReader | None = None
    idle = False  # woken, and nothing came
    while True:
        changed, ended = feed.changed, feed.ended
        last, frames = feed.last_number, feed.frames_after(after)
        if frames is None:
            reader = reader or JournalReader(feed.folder.journal_file)
            batch = await asyncio.to_thread(_read_batch, reader, after)
            last, frames = batch[-1].n if batch else after, b"".join(map(event_frame, batch))
        if frames:
            after, idle = last, False
            yield frames
            continue
        if ended:
            yield END_FRAME
            return
        if idle:
            yield KEEPALIVE_COMMENT
        await changed.wait()
        idle = True


def _read_batch(reader: JournalReader, after: int) -> list[Event]:
    """The next events after a number, from the file; some hundred at a time."""
    for events in reader.chunks():
        newer = [event for event in events if event.n > after]
        if newer:
            return newer
    return []
