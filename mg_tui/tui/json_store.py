"""Small things that the dashboard keeps in the home folder, as JSON.

Losing them loses nothing else: a file that cannot be read counts as empty, and one that cannot be written is let go.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_MAX_BYTES: Final = 4 << 20  # bytes


def load(file: Path) -> dict[str, Any]:
    """What the file holds; nothing when it is not there, too large or no JSON object."""
    try:
        values = json.loads(file.read_bytes()) if file.stat().st_size <= _MAX_BYTES else {}
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def save(file: Path, values: Mapping[str, Any]) -> None:
    """Write the file beside its place and rename it."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            json.dump(values, stream, indent=1)
        Path(name).replace(file)
