"""What was opened before: datasets, models and pictures, newest first, kept in `<home>/recent.json`.

Losing it loses nothing else: a file that cannot be read counts as empty, and one that cannot be written is let go.
"""

import contextlib
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

Kind = Literal["datasets", "models", "pictures"]

FILE_NAME: Final = "recent.json"
KEPT: Final = 24
_LARGEST: Final = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Recent:
    """One thing that was opened: as it was given, and when (Unix time in seconds). Not safe to print."""

    given: str
    when: float


def read(home: Path, kind: Kind) -> list[Recent]:
    """What was opened, newest first."""
    listed = _load(home).get(kind)
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
    kept = items[:KEPT]
    values = {**_load(home), kind: [{"given": item.given, "when": item.when} for item in kept]}
    with contextlib.suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{FILE_NAME}.", dir=home)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            json.dump(values, file, indent=1)
        Path(name).replace(home / FILE_NAME)


def _load(home: Path) -> dict[str, Any]:
    file = home / FILE_NAME
    try:
        values = json.loads(file.read_bytes()) if file.stat().st_size <= _LARGEST else {}
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
