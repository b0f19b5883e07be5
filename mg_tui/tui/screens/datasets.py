"""The place where datasets are opened: recent ones, the files of a folder as a tree, or a typed path or name."""

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from mg_tui.runs import recents
from mg_tui.tui.actions import bindings
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.datasets.file_tree import FileNode, FileTree, build_tree
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.table import Table


class FileTreeRead(Message):
    """The lines of the tree."""

    def __init__(self, root: Path, nodes: list[FileNode]) -> None:
        super().__init__()
        self.root, self.nodes = root, nodes


class DatasetsScreen(GardenScreen[None]):
    """The place of datasets."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("datasets")]
    AUTO_FOCUS = "FileTree"

    def __init__(self) -> None:
        super().__init__()
        self._root = Path.cwd()
        self._expanded: frozenset[str] = frozenset()

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield FileTree()
        yield Static(_hint(), id="hint")
        yield KeyBar()

    def on_screen_resume(self) -> None:
        self.call_after_refresh(self._read)

    def _read(self) -> None:
        self.run_worker(self._list, thread=True, exclusive=True, group="tree", exit_on_error=False)

    def _list(self) -> None:
        root, expanded = self._root, self._expanded
        recent = recents.read(self.dashboard.settings.home, "datasets")[:8]
        self.post_message(FileTreeRead(root, build_tree(root, expanded, recent)))

    def on_file_tree_read(self, message: FileTreeRead) -> None:
        if message.root == self._root:
            table = self.query_one(FileTree)
            first = not table.rows
            table.show(message.nodes)
            if first:
                table.cursor = 0
            self.refresh_keys()

    def on_table_moved(self) -> None:
        self.refresh_keys()

    def on_table_chosen(self, message: Table.Chosen) -> None:
        message.stop()
        self.action_open()

    @property
    def selected(self) -> FileNode | None:
        """The line under the cursor."""
        return self.query_one(FileTree).current

    def open_dataset(self, reference: str) -> None:
        """Show a dataset's rows; that screen says when it cannot be opened."""
        from mg_tui.tui.screens.dataset import DatasetScreen

        self.dashboard.push_screen(DatasetScreen(reference))

    # --- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        node = self.selected if self.is_mounted and self.query(FileTree) else None
        kind = node.kind if node is not None else ""
        match action:
            case "open":
                return kind in ("recent", "folder", "file", "up")
            case "folder":
                return kind == "folder"
            case "expand":
                return kind == "folder" and node is not None and not node.expanded
            case "forget":
                return kind == "recent"
        return True

    def action_open(self) -> None:
        node = self.selected
        if node is None:
            return
        match node.kind:
            case "recent" | "file":
                self.open_dataset(node.reference)
            case "folder" if node.depth:
                self._toggle(node)
            case "up":
                self._go(Path(node.reference))

    def action_path(self) -> None:
        from mg_tui.tui.screens.picker import PickScreen

        picker = PickScreen("dataset", "Open a dataset", recents.read(self.dashboard.settings.home, "datasets"))
        self.dashboard.push_screen(picker, lambda path: self.open_dataset(path) if path is not None else None)

    def action_folder(self) -> None:
        if self.selected is not None and self.selected.kind == "folder":
            self.open_dataset(self.selected.reference)

    def action_expand(self) -> None:
        if self.selected is not None and self.selected.kind == "folder" and not self.selected.expanded:
            self._toggle(self.selected)

    def action_collapse(self) -> None:
        node = self.selected
        if node is not None and node.kind == "folder" and node.expanded and node.depth:
            self._toggle(node)
        elif node is not None and node.depth > 1:
            self._to_parent(node)
        else:
            self._go(self._root.parent)

    def action_forget(self) -> None:
        if self.selected is not None and self.selected.kind == "recent":
            recents.forget(self.dashboard.settings.home, "datasets", self.selected.reference)
            self._read()

    def _toggle(self, node: FileNode) -> None:
        self._expanded = self._expanded ^ {node.reference}
        self._read()

    def _to_parent(self, node: FileNode) -> None:
        table = self.query_one(FileTree)
        for index in range(table.cursor, -1, -1):
            other = table.rows[index]
            if other.kind == "folder" and other.depth == node.depth - 1:
                table.move(index)
                return

    def _go(self, root: Path) -> None:
        if root != self._root:
            self._expanded |= {str(self._root)}
            self._root = root
            self._read()


def _hint() -> Content:
    return line(
        ("o", tone("key", "bold")),
        (" a path, or OWNER/NAME on the Hub    ", tone("dim")),
        ("d", tone("key", "bold")),
        (" a folder of images or shards", tone("dim")),
    )
