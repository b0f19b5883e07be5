"""Small JSON files in the home folder that nothing depends on.

A file that cannot be read counts as empty, and one that cannot be written is not written.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_MAX_BYTES: Final = 4 << 20


def load(file: Path) -> dict[str, Any]:
    """The file's JSON object; empty when the file is missing, too large or no JSON object."""
    try:
        values = json.loads(file.read_bytes()) if file.stat().st_size <= _MAX_BYTES else {}
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def save(file: Path, values: Mapping[str, Any]) -> None:
    """Write a temporary file beside it and rename it."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            json.dump(values, stream, indent=1)
        Path(name).replace(file)
