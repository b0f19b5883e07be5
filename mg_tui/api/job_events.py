"""A job's journal as server-sent events, for many followers at the price of one reader.

One task for each followed run looks at the journal's size a few times a second and reads what is new; followers get the
same encoded frames. A follower who begins further back reads the file itself until it has caught up.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from mg_tui.core.errors import GardenError
from mg_tui.core.events import Event, json_safe
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader
from mg_tui.runs.watch import RunWatch

_POLL_SECONDS: Final = 0.2
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
    """The newest frames of one run, and whether it has ended. `changed` is set anew after every change."""

    def __init__(self, folder: RunFolder):
        self.folder = folder
        self.followers = 0
        self.frames: deque[tuple[int, bytes]] = deque(maxlen=_KEPT_FRAMES)
        self.last_number = 0
        self.ended = False
        self.changed = asyncio.Event()
        self._watch = RunWatch(folder, thin=False)

    def frames_after(self, number: int) -> list[tuple[int, bytes]] | None:
        """The frames after an event's number; None when older ones are needed than are kept."""
        if number >= self.last_number:
            return []
        if not self.frames or self.frames[0][0] > number + 1:
            return None
        return [frame for frame in self.frames if frame[0] > number]

    async def run(self) -> None:
        """Read until the run has ended, or its folder is gone."""
        while True:
            try:
                events = await asyncio.to_thread(self._watch.refresh)
            except GardenError:
                events = []
            for event in events:
                self.frames.append((event.n, event_frame(event)))
                self.last_number = event.n
            ended = self._watch.state.ended or not self.folder.path.exists()
            if events or ended != self.ended:
                self.ended = ended
                waiting, self.changed = self.changed, asyncio.Event()
                waiting.set()
            if ended:
                return
            await asyncio.sleep(_POLL_SECONDS)


class EventFeeds:
    """The feeds of the runs that are followed. Belongs to one event loop."""

    def __init__(self) -> None:
        self._feeds: dict[str, tuple[EventFeed, asyncio.Task[None]]] = {}

    async def follow(self, folder: RunFolder, after: int) -> AsyncIterator[bytes]:
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
    while True:
        changed, ended = feed.changed, feed.ended
        frames = feed.frames_after(after)
        if frames is None:
            reader = reader or JournalReader(feed.folder.journal_file)
            frames = [(event.n, event_frame(event)) for event in await asyncio.to_thread(_read_batch, reader, after)]
        for number, frame in frames:
            after = number
            yield frame
        if frames:
            continue
        if ended:
            yield END_FRAME
            return
        try:
            await asyncio.wait_for(changed.wait(), _PING_SECONDS)
        except TimeoutError:
            yield KEEPALIVE_COMMENT


def _read_batch(reader: JournalReader, after: int) -> list[Event]:
    """The next events after a number, from the file; some hundred at a time."""
    for events in reader.chunks():
        newer = [event for event in events if event.n > after]
        if newer:
            return newer
    return []
