"""Files to pick from: what is below a typed path, and what was opened before."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import ClassVar, Final, Literal

from textual.content import Content

from mg_tui.core.text import one_line
from mg_tui.tui import words
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.table import Column, Table

Wanted = Literal["picture", "dataset", "model"]

PICTURES: Final = frozenset(
    ".jpg .jpeg .jpe .png .webp .gif .bmp .dib .tif .tiff .ppm .pgm .jp2 .j2k .avif .ico .mpo".split()
)
DATASETS: Final = frozenset(".jsonl .ndjson .json .csv .tsv .parquet .arrow .tar .gz .zst".split())
MOST: Final = 2_000  # entries of a folder that are listed


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to pick.

    Attributes:
        given: what picking it means: a path, or a name on the hub. Not safe to print.
        label: how it is shown; safe.
        folder: going into it shows what is inside.
        bytes: size of a file.
        when: when it was opened before, Unix time, 0 where that is not known; None for what was not.
        this: it is the folder that is listed.
    """

    given: str
    label: str
    folder: bool = False
    bytes: int | None = None
    when: float | None = None
    this: bool = False


def entries_of(typed: str, wanted: Wanted, recent: Sequence[tuple[str, float]], cwd: Path) -> tuple[list[Entry], str]:
    """What can be picked after `typed` was typed, and why there is nothing if so. Reads a folder; for a thread."""
    found: list[Entry] = []
    if not typed.strip():
        found += [Entry(given, one_line(given, limit=300), when=when) for given, when in recent]
    head, _slash, tail = typed.rpartition("/")
    shown_head = f"{head}/" if _slash else ""
    folder = cwd / os.path.expanduser(shown_head or ".")  # noqa: PTH111 - an unknown user is just no folder
    if typed.endswith("/") and wanted != "picture" and folder.is_dir():
        found.append(Entry(typed, "this folder", this=True))
    try:
        listed = list(os.scandir(folder))
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return found, one_line(why, limit=200).lower()
    matching = [item for item in listed if _shown(item, tail)]
    folders = sorted((item for item in matching if _is_folder(item)), key=lambda item: item.name.casefold())
    files = (
        []
        if wanted == "model"
        else sorted(
            (item for item in matching if not _is_folder(item) and _fits(item.name, wanted)),
            key=lambda item: item.name.casefold(),
        )
    )
    found += [Entry(f"{shown_head}{item.name}/", f"{one_line(item.name)}/", folder=True) for item in folders]
    found += [Entry(f"{shown_head}{item.name}", one_line(item.name), bytes=_size(item)) for item in files]
    return found[:MOST], "" if found else "nothing here that could be opened"


def _shown(item: "os.DirEntry[str]", tail: str) -> bool:
    if item.name.startswith(".") and not tail.startswith("."):
        return False
    return item.name.casefold().startswith(tail.casefold())


def _is_folder(item: "os.DirEntry[str]") -> bool:
    try:
        return item.is_dir()
    except OSError:  # a link in a circle
        return False


def _fits(name: str, wanted: Wanted) -> bool:
    return Path(name).suffix.lower() in (PICTURES if wanted == "picture" else DATASETS)


def _size(item: "os.DirEntry[str]") -> int | None:
    try:
        return item.stat().st_size
    except OSError:
        return None


class EntryTable(Table[Entry]):
    """Recents with their age, then folders and files."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("label", "Name", 20, grow=1),
        Column("about", "", 9, rank=1, right=True),
    )

    def key_of(self, row: Entry) -> str:
        return f"{row.when is not None}{row.this}{row.given}"

    def cell_of(self, row: Entry, key: str, width: int) -> Content:
        if key == "about":
            said = words.age(time() - row.when) if row.when else words.size(row.bytes) if row.bytes else ""
            return Content.styled(said, tone("dim"))
        if row.this:
            return Content.styled(f"↵ {row.label}", tone("key", "bold"))
        if row.when is not None:
            return line(("↺ ", tone("eval")), row.label)
        if row.folder:
            return line(("▸ ", tone("dim")), (row.label, tone("key")))
        return line("  ", row.label)
