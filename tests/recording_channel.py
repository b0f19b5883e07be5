"""Stands in for the channel of an engine program."""

from typing import Any


class RecordingChannel:
    """Keeps what was said; after `cancel_after` events it is cancelled."""

    def __init__(self, cancel_after: int | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self._cancel_after = cancel_after

    def send(self, event: str, **fields: Any) -> None:
        self.events.append({"event": event, **fields})

    def send_notice(self, text: str) -> None:
        self.send("notice", text=text)

    def cancelled(self) -> bool:
        return self._cancel_after is not None and len(self.events) > self._cancel_after

    def named(self, event: str) -> list[dict[str, Any]]:
        return [item for item in self.events if item["event"] == event]
