"""Where datasets are opened from: what was opened before, then the files of a folder, as a tree."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import ClassVar, Final

from textual.content import Content

from mg_tui.core.text import one_line
from mg_tui.tui import formatting
from mg_tui.tui.recents import RecentItem
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.path_table import DATASET_SUFFIXES, MAX_ENTRIES
from mg_tui.tui.widgets.table import Column, Table

INDENT: Final = "  "


@dataclass(frozen=True, slots=True)
class FileNode:
    """A line of the tree.

    Attributes:
        given: what opening it means; not safe to print.
        kind: "recent", "folder", "file", "up" (the folder around) or "said" (a sentence).
        depth: how far it is indented.
        open: a folder whose inside is shown.
        bytes, when: size of a file; when a recent one was opened, Unix time in seconds.
        gone: a recent file that is not there any more.
    """

    reference: str
    kind: str
    label: str
    depth: int = 0
    expanded: bool = False
    bytes: int | None = None
    opened_at: float | None = None
    missing: bool = False


def build_tree(root: Path, expanded: frozenset[str], recent: Sequence[RecentItem]) -> list[FileNode]:
    """Every line of the tree. Reads folders; for a thread."""
    nodes = [
        FileNode(
            item.reference,
            "recent",
            one_line(item.reference, limit=300),
            opened_at=item.opened_at,
            missing=_is_missing(item.reference),
        )
        for item in recent
    ]
    if root.parent != root:
        nodes.append(FileNode(str(root.parent), "up", ".."))
    label = one_line(str(root), limit=300)
    nodes.append(FileNode(str(root), "folder", label, expanded=True))
    nodes += _folder_nodes(root, 1, expanded)
    return nodes[: MAX_ENTRIES * 2]


def _folder_nodes(folder: Path, depth: int, expanded: frozenset[str]) -> list[FileNode]:
    try:
        listed = [item for item in os.scandir(folder) if not item.name.startswith(".")]
    except OSError as error:
        return [FileNode("", "said", one_line(error.strerror or str(error)).lower(), depth)]
    folders = sorted((item.name for item in listed if _is_folder(item)), key=str.casefold)
    files = sorted((item for item in listed if not _is_folder(item)), key=lambda item: item.name.casefold())
    nodes: list[FileNode] = []
    for name in folders[:MAX_ENTRIES]:
        path = folder / name
        shown = str(path) in expanded
        nodes.append(FileNode(str(path), "folder", one_line(name, limit=200), depth, expanded=shown))
        if shown:
            nodes += _folder_nodes(path, depth + 1, expanded)
    fitting = [item for item in files if Path(item.name).suffix.lower() in DATASET_SUFFIXES]
    for item in fitting[:MAX_ENTRIES]:
        nodes.append(FileNode(item.path, "file", one_line(item.name, limit=200), depth, bytes=_file_size(item)))
    if not folders and not fitting:
        nodes.append(FileNode("", "said", "no datasets in here", depth))
    return nodes


def _is_folder(item: "os.DirEntry[str]") -> bool:
    try:
        return item.is_dir(follow_symlinks=True)
    except OSError:  # a link in a circle
        return False


def _file_size(item: "os.DirEntry[str]") -> int | None:
    try:
        return item.stat().st_size
    except OSError:
        return None


def _is_missing(given: str) -> bool:
    """Whether it was a path and is not there any more; a name on the hub never is."""
    try:
        return given.startswith("/") and not Path(given).exists()
    except (OSError, ValueError):
        return True


class FileTree(Table[FileNode]):
    """Recents, then the tree."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("label", "Open a dataset", 30, grow=1),
        Column("about", "", 9, drop_rank=1, align_right=True),
    )

    def key_of(self, row: FileNode) -> str:
        return f"{row.kind}{row.reference}"

    def cell_of(self, row: FileNode, key: str, width: int) -> Content:
        if key == "about":
            said = (
                formatting.age(time() - row.opened_at)
                if row.opened_at is not None
                else formatting.size(row.bytes)
                if row.bytes
                else ""
            )
            return Content.styled(said, tone("dim"))
        indent = INDENT * row.depth
        match row.kind:
            case "recent":
                gone = Content.styled("  (not there any more)", tone("failed")) if row.missing else Content()
                return line(("↺ ", tone("eval")), _file_name_first(row.label), gone)
            case "folder":
                return line(indent, ("▾ " if row.expanded else "▸ ", tone("key")), (row.label, tone("key")))
            case "up":
                return line(("▴ ", tone("dim")), (row.label, tone("dim")))
            case "said":
                return Content.styled(f"{indent}  {row.label}", tone("dim"))
            case _:
                return line(f"{indent}  ", row.label)


def _file_name_first(label: str) -> Content:
    """A path with its last part first: what tells files apart is not cut off."""
    head, slash, tail = label.rstrip("/").rpartition("/")
    return line((tail, "bold"), (f"  {head}{slash}", tone("dim"))) if slash and head else Content.styled(label, "bold")
