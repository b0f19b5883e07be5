"""Folders that hold images which a dataset names relative to another folder than the ones that are searched.

Datasets are often moved or unpacked so that their paths start from the folder above, or from one beside it.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

_LEVELS: Final = 3  # folders above the dataset's
_MAX_SIBLINGS: Final = 200  # folders looked at in each of them
_MAX_NAMES: Final = 64


@dataclass(frozen=True, slots=True)
class ImageRoot:
    """A folder, and how many of the names that were looked for are files in it."""

    folder: Path
    found: int
    tried: int


def find_image_roots(names: Sequence[str], folder: Path) -> list[ImageRoot]:
    """Folders that have at least one of the files, the one with the most first.

    Args:
        names: relative paths; the first `_MAX_NAMES` distinct ones are looked for.
        folder: the dataset's folder. Looked in are the folders above it, their folders, and its own.
    """
    relative = (name for name in dict.fromkeys(names) if name and "\0" not in name and not Path(name).is_absolute())
    wanted = list(islice(relative, _MAX_NAMES))
    found: Counter[Path] = Counter()
    candidates = list(_candidate_folders(folder))
    for candidate in candidates:
        if count := sum(os.path.isfile(candidate / name) for name in wanted):  # noqa: PTH113 - False for a name that no file can have
            found[candidate] = count
    nearest = {candidate: rank for rank, candidate in enumerate(candidates)}
    ordered = sorted(found, key=lambda candidate: (-found[candidate], nearest[candidate]))
    return [ImageRoot(candidate, found[candidate], len(wanted)) for candidate in ordered]


def _candidate_folders(folder: Path) -> Iterator[Path]:
    """The folders above and beside, nearest first; each once."""
    folder = Path(os.path.normpath(folder.absolute()))
    seen = {folder}
    for place in [folder, *folder.parents[:_LEVELS]]:
        for candidate in [place, *_folders_in(place)]:
            if candidate not in seen:
                seen.add(candidate)
                yield candidate


def _folders_in(folder: Path) -> list[Path]:
    folders: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir() and not entry.name.startswith("."):
                    folders.append(Path(entry.path))
                    if len(folders) == _MAX_SIBLINGS:
                        break
    except OSError:
        return []
    return sorted(folders)
