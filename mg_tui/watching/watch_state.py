"""What the watching process knows of a run: written at every change, so that another one continues where it ended.

An event's messages and the number of the event are written in one step: nothing is lost and nothing is made twice.
"""

import contextlib
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mg_tui.runs import json_store
from mg_tui.runs.watch_request import STATE_FILE, write_private
from mg_tui.watching.messages import RunMessage


class WatchState:
    """The state of one run's watching; its methods may be called from any thread.

    Attributes:
        last_event: number of the last event whose messages were written.
        channels: by label, what is known of each: `sent`, `problem`.
        sync, ending: what is known of copying, and of the end.
        done: nothing is left to do until the run is resumed.
    """

    def __init__(self, folder: Path, last_event: int = 0):
        self._file = folder / STATE_FILE
        self._lock = threading.RLock()
        record = json_store.load(self._file)
        self.last_event = max(int(record.get("last_event", 0)), last_event)
        self.last_best = float(record.get("last_best", 0.0))
        self.channels: dict[str, dict[str, Any]] = _dicts(record.get("channels"))
        self.sync: dict[str, Any] = record["sync"] if isinstance(record.get("sync"), dict) else {}
        self.ending: dict[str, Any] = record["ending"] if isinstance(record.get("ending"), dict) else {}
        self.done = False
        self._sent = {str(key) for key in record.get("sent", [])}
        self._outbox: list[dict[str, Any]] = [
            entry for entry in record.get("outbox", []) if isinstance(entry, dict) and "message" in entry
        ]

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """A block that changes attributes; they are saved at its end, together."""
        with self._lock:
            yield
            self.save()

    def save(self) -> None:
        """Write everything; a disk that is full or gone is waited for by the next change."""
        with self._lock, contextlib.suppress(OSError):
            record = {
                "last_event": self.last_event,
                "last_best": self.last_best,
                "sent": sorted(self._sent),
                "outbox": self._outbox,
                "channels": self.channels,
                "sync": self.sync,
                "ending": self.ending,
                "done": self.done,
            }
            write_private(self._file, record)

    def add(self, message: RunMessage, labels: Iterable[str]) -> bool:
        """Put a message into the outbox of each channel, unless there was one with its key; whether it is new."""
        with self._lock:
            if message.key in self._sent:
                return False
            self._sent.add(message.key)
            record = message.as_dict()
            self._outbox += [{"channel": label, "message": record, "tries": 0, "next": 0.0} for label in labels]
            return True

    def forget(self, key: str) -> None:
        """Let a message with this key be sent again: what it said was over in between."""
        with self._lock:
            self._sent.discard(key)

    def was_sent(self, key: str) -> bool:
        """Whether a message with this key was made."""
        with self._lock:
            return key in self._sent

    def first_due(self, label: str, now: float) -> dict[str, Any] | None:
        """The first message of a channel, if it may be tried now: its messages stay in order."""
        with self._lock:
            entry = next((entry for entry in self._outbox if entry["channel"] == label), None)
            return entry if entry is not None and float(entry.get("next", 0.0)) <= now else None

    def delivered(self, entry: dict[str, Any]) -> None:
        """A message has arrived."""
        with self.changing():
            self._outbox.remove(entry)
            channel = self.channels.setdefault(entry["channel"], {})
            channel.update(sent=int(channel.get("sent", 0)) + 1, problem=None)

    def postpone(self, entry: dict[str, Any], until: float, why: str) -> None:
        """A message has not arrived and is tried again."""
        with self.changing():
            entry.update(tries=int(entry.get("tries", 0)) + 1, next=until)
            self.channels.setdefault(entry["channel"], {})["problem"] = why

    def drop(self, entry: dict[str, Any]) -> None:
        """A message is given up."""
        with self.changing():
            self._outbox.remove(entry)

    @property
    def waiting(self) -> int:
        """Messages that have not arrived yet."""
        with self._lock:
            return len(self._outbox)


def _dicts(value: Any) -> dict[str, dict[str, Any]]:
    items = value.items() if isinstance(value, dict) else ()
    return {str(name): dict(item) for name, item in items if isinstance(item, dict)}
