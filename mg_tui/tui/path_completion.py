"""What a path that is being typed could go on as."""

import os
from pathlib import Path
from typing import Final

_MAX_SCANNED: Final = 5_000  # entries of a folder that are looked at
_MAX_OFFERED: Final = 40


def matching_paths(text: str, folder: Path) -> tuple[str, ...]:
    """Paths that begin with `text`, folders first and with a slash; hidden ones only when asked for. For a thread."""
    head, slash, tail = text.rpartition("/")
    where = folder / os.path.expanduser(head + slash or ".")  # noqa: PTH111 - an unknown user is just no folder
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(where) as listed:
            for number, entry in enumerate(listed):
                if number >= _MAX_SCANNED:
                    break
                if entry.name.startswith(tail) and (tail.startswith(".") or not entry.name.startswith(".")):
                    (folders if entry.is_dir() else files).append(entry.name)
    except (OSError, ValueError):
        return ()
    names = [*(f"{name}/" for name in sorted(folders)), *sorted(files)]
    return tuple(f"{head}{slash}{name}" for name in names[:_MAX_OFFERED])
