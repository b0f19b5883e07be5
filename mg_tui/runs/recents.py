"""Recently opened datasets, models and images, newest first, in `<home>/recent.json` (see `json_store`)."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mg_tui.runs import json_store

RecentKind = Literal["datasets", "models", "images"]

FILE_NAME: Final = "recent.json"
MAX_RECENT: Final = 24
_FILE_KEYS: Final[dict[RecentKind, str]] = {"datasets": "datasets", "models": "models", "images": "pictures"}


@dataclass(frozen=True, slots=True)
class RecentItem:
    """Something that was opened: as it was given (not safe to print), and when: Unix time, 0 when unknown."""

    reference: str
    opened_at: float


def read(home: Path, kind: RecentKind) -> list[RecentItem]:
    """The items of a kind, newest first."""
    listed = json_store.load(home / FILE_NAME).get(_FILE_KEYS[kind])
    items = []
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, dict) and isinstance(item.get("given"), str) and isinstance(item.get("when"), int | float):
            items.append(RecentItem(item["given"], float(item["when"])))
    return items[:MAX_RECENT]


def remember(home: Path, kind: RecentKind, reference: str) -> None:
    """Put an item first."""
    others = [item for item in read(home, kind) if item.reference != reference]
    _write(home, kind, [RecentItem(reference, time.time()), *others])


def forget(home: Path, kind: RecentKind, reference: str) -> None:
    """Take an item out."""
    _write(home, kind, [item for item in read(home, kind) if item.reference != reference])


def _write(home: Path, kind: RecentKind, items: list[RecentItem]) -> None:
    listed = [{"given": item.reference, "when": item.opened_at} for item in items[:MAX_RECENT]]
    json_store.save(home / FILE_NAME, {**json_store.load(home / FILE_NAME), _FILE_KEYS[kind]: listed})
