"""Completion of paths as they are typed, and the files of a folder. Reads folders; for a thread."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

from mg_tui.core.text import one_line

PathKind = Literal["any", "image", "dataset", "model"]

IMAGE_SUFFIXES: Final = frozenset(
    ".jpg .jpeg .jpe .png .webp .gif .bmp .dib .tif .tiff .ppm .pgm .jp2 .j2k .avif .ico .mpo".split()
)
DATASET_SUFFIXES: Final = frozenset(".jsonl .ndjson .json .csv .tsv .parquet .arrow .tar .gz .zst".split())
MAX_ENTRIES: Final = 2_000  # of a folder
# Suffixes of the files of a kind; None is any. Models are folders.
_SUFFIXES: Final[dict[PathKind, Collection[str] | None]] = {
    "any": None,
    "image": IMAGE_SUFFIXES,
    "dataset": DATASET_SUFFIXES,
    "model": (),
}


@dataclass(frozen=True, slots=True)
class PathEntry:
    """One thing to pick.

    Attributes:
        reference: what picking it returns: a path, or a name on the hub. Not safe to print.
        label: how it is shown; printable.
        is_folder: picking it shows what is inside.
        bytes: size of a file.
        opened_at: when it was opened before: Unix time, 0 when unknown; None for what was not.
        is_this_folder: it is the folder that is listed.
    """

    reference: str
    label: str
    is_folder: bool = False
    bytes: int | None = None
    opened_at: float | None = None
    is_this_folder: bool = False


class Completion(NamedTuple):
    """The entries a typed path can be completed to, and why there are none; empty when there are."""

    entries: list[PathEntry]
    problem: str


class FolderFile(NamedTuple):
    """A file of a folder: its name, and its size in bytes where that can be read."""

    name: str
    bytes: int | None


def complete_path(typed: str, folder: Path, kind: PathKind = "any", *, limit: int = MAX_ENTRIES) -> Completion:
    """What a path typed in `folder` can be completed to: folders first, by name without regard to case.

    Hidden entries are listed only when the typed name begins with a dot.
    """
    head, slash, tail = typed.rpartition("/")
    prefix = head + slash
    base = folder / os.path.expanduser(prefix or ".")  # noqa: PTH111 - an unknown user is just no folder
    try:
        folders, files = list_folder(base, tail, _SUFFIXES[kind])
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return Completion([], one_line(why, limit=200).lower())
    entries = [PathEntry(f"{prefix}{name}/", f"{one_line(name)}/", is_folder=True) for name in folders]
    entries += [PathEntry(f"{prefix}{file.name}", one_line(file.name), bytes=file.bytes) for file in files]
    return Completion(entries[:limit], "" if entries else "nothing to open here")


def list_folder(
    folder: Path, prefix: str = "", suffixes: Collection[str] | None = None
) -> tuple[list[str], list[FolderFile]]:
    """The names of the folders in a folder, and its files with one of `suffixes` (None: all), ordered without case.

    Args:
        prefix: only names that begin with it, without regard to case; hidden ones only when it begins with a dot.

    Raises:
        OSError, ValueError: the folder cannot be read.
    """
    with os.scandir(folder) as listed:
        matching = [item for item in listed if _matches(item.name, prefix)]
    matching.sort(key=lambda item: item.name.casefold())
    folders = [item.name for item in matching if _is_folder(item)]
    names = set(folders)
    files = [
        FolderFile(item.name, _file_size(item))
        for item in matching
        if item.name not in names and (suffixes is None or Path(item.name).suffix.lower() in suffixes)
    ]
    return folders, files


def _matches(name: str, prefix: str) -> bool:
    if name.startswith(".") and not prefix.startswith("."):
        return False
    return name.casefold().startswith(prefix.casefold())


def _is_folder(item: "os.DirEntry[str]") -> bool:
    try:
        return item.is_dir()
    except OSError:  # a link in a circle
        return False


def _file_size(item: "os.DirEntry[str]") -> int | None:
    try:
        return item.stat().st_size
    except OSError:
        return None
