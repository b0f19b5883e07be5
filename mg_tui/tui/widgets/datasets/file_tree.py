"""A tree to open datasets from: recent ones, then the files of a folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from textual.content import Content

from mg_tui.core.text import one_line
from mg_tui.runs.recents import RecentItem
from mg_tui.tui.path_completion import DATASET_SUFFIXES, MAX_ENTRIES, list_folder
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.path_table import age_or_size
from mg_tui.tui.widgets.table import Column, Table

INDENT: Final = "  "


@dataclass(frozen=True, slots=True)
class FileNode:
    """A line of the tree.

    Attributes:
        reference: the path or name that opening it uses; not safe to print.
        kind: "recent", "folder", "file", "up" (the parent folder) or "note" (a sentence).
        label: as shown; printable.
        depth: indentation.
        expanded: a folder whose contents are shown.
        bytes: size of a file.
        opened_at: Unix time at which a recent one was opened.
        missing: a recent file that does not exist any more.
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
        folders, files = list_folder(folder, suffixes=DATASET_SUFFIXES)
    except OSError as error:
        return [FileNode("", "note", one_line(error.strerror or str(error)).lower(), depth)]
    nodes: list[FileNode] = []
    for name in folders[:MAX_ENTRIES]:
        path = folder / name
        is_expanded = str(path) in expanded
        nodes.append(FileNode(str(path), "folder", one_line(name, limit=200), depth, expanded=is_expanded))
        if is_expanded:
            nodes += _folder_nodes(path, depth + 1, expanded)
    for file in files[:MAX_ENTRIES]:
        nodes.append(FileNode(str(folder / file.name), "file", one_line(file.name, limit=200), depth, bytes=file.bytes))
    if not folders and not files:
        nodes.append(FileNode("", "note", "no datasets here", depth))
    return nodes


def _is_missing(reference: str) -> bool:
    """Whether it is a path that does not exist; a name on the hub is never missing."""
    try:
        return reference.startswith("/") and not Path(reference).exists()
    except (OSError, ValueError):
        return True


class FileTree(Table[FileNode]):
    """Recent datasets, then the tree."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("label", "Open a dataset", 30, grow=1),
        Column("about", "", 9, drop_rank=1, align_right=True),
    )

    def key_of(self, row: FileNode) -> str:
        return f"{row.kind}{row.reference}"

    def cell_of(self, row: FileNode, key: str, width: int) -> Content:
        if key == "about":
            return Content.styled(age_or_size(row.opened_at, row.bytes), tone("dim"))
        indent = INDENT * row.depth
        match row.kind:
            case "recent":
                missing = Content.styled("  (missing)", tone("failed")) if row.missing else Content()
                return line(("↺ ", tone("eval")), _file_name_first(row.label), missing)
            case "folder":
                return line(indent, ("▾ " if row.expanded else "▸ ", tone("key")), (row.label, tone("key")))
            case "up":
                return line(("▴ ", tone("dim")), (row.label, tone("dim")))
            case "note":
                return Content.styled(f"{indent}  {row.label}", tone("dim"))
            case _:
                return line(f"{indent}  ", row.label)


def _file_name_first(label: str) -> Content:
    """A path with its last part first, which tells files apart and must not be cut off."""
    head, slash, tail = label.rstrip("/").rpartition("/")
    return line((tail, "bold"), (f"  {head}{slash}", tone("dim"))) if slash and head else Content.styled(label, "bold")
