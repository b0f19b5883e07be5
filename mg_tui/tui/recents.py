"""What was opened before: datasets, models and pictures, newest first, kept in `<home>/recent.json` (see `kept`)."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mg_tui.tui import kept

Kind = Literal["datasets", "models", "pictures"]

FILE_NAME: Final = "recent.json"
KEPT: Final = 24


@dataclass(frozen=True, slots=True)
class Recent:
    """One thing that was opened: as it was given, and when (Unix time in seconds). Not safe to print."""

    given: str
    when: float


def read(home: Path, kind: Kind) -> list[Recent]:
    """What was opened, newest first."""
    listed = kept.load(home / FILE_NAME).get(kind)
    found = []
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, dict) and isinstance(item.get("given"), str) and isinstance(item.get("when"), int | float):
            found.append(Recent(item["given"], float(item["when"])))
    return found[:KEPT]


def remember(home: Path, kind: Kind, given: str) -> None:
    """Put `given` first."""
    others = [item for item in read(home, kind) if item.given != given]
    _write(home, kind, [Recent(given, time.time()), *others])


def forget(home: Path, kind: Kind, given: str) -> None:
    """Take `given` out."""
    _write(home, kind, [item for item in read(home, kind) if item.given != given])


def _write(home: Path, kind: Kind, items: list[Recent]) -> None:
    listed = [{"given": item.given, "when": item.when} for item in items[:KEPT]]
    kept.save(home / FILE_NAME, {**kept.load(home / FILE_NAME), kind: listed})
