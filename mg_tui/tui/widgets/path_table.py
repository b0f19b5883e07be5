"""Files to pick from: what is below a typed path, and what was opened before."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import ClassVar, Final, Literal

from textual.content import Content

from mg_tui.core.text import one_line
from mg_tui.tui import formatting
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.table import Column, Table

PathKind = Literal["image", "dataset", "model"]

IMAGE_SUFFIXES: Final = frozenset(
    ".jpg .jpeg .jpe .png .webp .gif .bmp .dib .tif .tiff .ppm .pgm .jp2 .j2k .avif .ico .mpo".split()
)
DATASET_SUFFIXES: Final = frozenset(".jsonl .ndjson .json .csv .tsv .parquet .arrow .tar .gz .zst".split())
MAX_ENTRIES: Final = 2_000  # entries of a folder that are listed


@dataclass(frozen=True, slots=True)
class PathEntry:
    """One thing to pick.

    Attributes:
        given: what picking it means: a path, or a name on the hub. Not safe to print.
        label: how it is shown; safe.
        folder: going into it shows what is inside.
        bytes: size of a file.
        when: when it was opened before, Unix time, 0 where that is not known; None for what was not.
        this: it is the folder that is listed.
    """

    reference: str
    label: str
    is_folder: bool = False
    bytes: int | None = None
    opened_at: float | None = None
    is_this_folder: bool = False


def complete_path(
    typed: str, wanted: PathKind, recent: Sequence[tuple[str, float]], cwd: Path
) -> tuple[list[PathEntry], str]:
    """What can be picked after `typed` was typed, and why there is nothing if so. Reads a folder; for a thread."""
    found: list[PathEntry] = []
    if not typed.strip():
        found += [PathEntry(given, one_line(given, limit=300), opened_at=when) for given, when in recent]
    head, _slash, tail = typed.rpartition("/")
    shown_head = f"{head}/" if _slash else ""
    folder = cwd / os.path.expanduser(shown_head or ".")  # noqa: PTH111 - an unknown user is just no folder
    if typed.endswith("/") and wanted != "image" and folder.is_dir():
        found.append(PathEntry(typed, "this folder", is_this_folder=True))
    try:
        listed = list(os.scandir(folder))
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return found, one_line(why, limit=200).lower()
    matching = [item for item in listed if _matches(item, tail)]
    folders = sorted((item for item in matching if _is_folder(item)), key=lambda item: item.name.casefold())
    files = (
        []
        if wanted == "model"
        else sorted(
            (item for item in matching if not _is_folder(item) and _has_suffix(item.name, wanted)),
            key=lambda item: item.name.casefold(),
        )
    )
    found += [PathEntry(f"{shown_head}{item.name}/", f"{one_line(item.name)}/", is_folder=True) for item in folders]
    found += [PathEntry(f"{shown_head}{item.name}", one_line(item.name), bytes=_file_size(item)) for item in files]
    return found[:MAX_ENTRIES], "" if found else "nothing here that could be opened"


def _matches(item: "os.DirEntry[str]", tail: str) -> bool:
    if item.name.startswith(".") and not tail.startswith("."):
        return False
    return item.name.casefold().startswith(tail.casefold())


def _is_folder(item: "os.DirEntry[str]") -> bool:
    try:
        return item.is_dir()
    except OSError:  # a link in a circle
        return False


def _has_suffix(name: str, wanted: PathKind) -> bool:
    return Path(name).suffix.lower() in (IMAGE_SUFFIXES if wanted == "image" else DATASET_SUFFIXES)


def _file_size(item: "os.DirEntry[str]") -> int | None:
    try:
        return item.stat().st_size
    except OSError:
        return None


class PathTable(Table[PathEntry]):
    """Recents with their age, then folders and files."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("label", "Name", 20, grow=1),
        Column("about", "", 9, drop_rank=1, align_right=True),
    )

    def key_of(self, row: PathEntry) -> str:
        return f"{row.opened_at is not None}{row.is_this_folder}{row.reference}"

    def cell_of(self, row: PathEntry, key: str, width: int) -> Content:
        if key == "about":
            said = (
                formatting.age(time() - row.opened_at)
                if row.opened_at
                else formatting.size(row.bytes)
                if row.bytes
                else ""
            )
            return Content.styled(said, tone("dim"))
        if row.is_this_folder:
            return Content.styled(f"↵ {row.label}", tone("key", "bold"))
        if row.opened_at is not None:
            return line(("↺ ", tone("eval")), row.label)
        if row.is_folder:
            return line(("▸ ", tone("dim")), (row.label, tone("key")))
        return line("  ", row.label)
