"""What was opened before: datasets, models and images, newest first, kept in `<home>/recent.json` (see `json_store`)."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mg_tui.tui import json_store

RecentKind = Literal["datasets", "models", "images"]

FILE_NAME: Final = "recent.json"
MAX_RECENT: Final = 24


@dataclass(frozen=True, slots=True)
class RecentItem:
    """One thing that was opened: as it was given, and when (Unix time in seconds). Not safe to print."""

    reference: str
    opened_at: float


def read(home: Path, kind: RecentKind) -> list[RecentItem]:
    """What was opened, newest first."""
    listed = json_store.load(home / FILE_NAME).get(kind)
    found = []
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, dict) and isinstance(item.get("given"), str) and isinstance(item.get("when"), int | float):
            found.append(RecentItem(item["given"], float(item["when"])))
    return found[:MAX_RECENT]


def remember(home: Path, kind: RecentKind, given: str) -> None:
    """Put `given` first."""
    others = [item for item in read(home, kind) if item.reference != given]
    _write(home, kind, [RecentItem(given, time.time()), *others])


def forget(home: Path, kind: RecentKind, given: str) -> None:
    """Take `given` out."""
    _write(home, kind, [item for item in read(home, kind) if item.reference != given])


def _write(home: Path, kind: RecentKind, items: list[RecentItem]) -> None:
    listed = [{"given": item.reference, "when": item.opened_at} for item in items[:MAX_RECENT]]
    json_store.save(home / FILE_NAME, {**json_store.load(home / FILE_NAME), kind: listed})
