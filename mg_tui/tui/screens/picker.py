"""A picker of a file, a folder or a name: typed with completion, or chosen from a list."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from mg_tui.core.errors import UsageError
from mg_tui.core.paths import expand_user
from mg_tui.core.text import one_line, printable
from mg_tui.runs.recents import RecentItem
from mg_tui.tui.actions import bindings
from mg_tui.tui.image_view import ImageView
from mg_tui.tui.path_completion import MAX_ENTRIES, PathEntry, PathKind, complete_path
from mg_tui.tui.screens.modal import Dialog
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.image_box import ImageBox
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.path_table import PathTable
from mg_tui.tui.widgets.table import Table

PLACEHOLDERS: Final[dict[PathKind, str]] = {
    "image": "path of an image",
    "dataset": "path of a file or folder, or OWNER/NAME on the Hub",
    "model": "path of a model folder, or OWNER/NAME on the Hub",
}


class PathsListed(Message):
    """The entries for what was typed; when there are none, why."""

    def __init__(self, typed: str, entries: list[PathEntry], problem: str) -> None:
        super().__init__()
        self.typed, self.entries, self.problem = typed, entries, problem


class PickScreen(Dialog[str | None]):
    """Returns an absolute path or a name, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("pick")]
    AUTO_FOCUS = "#path"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012  (as Textual declares it)

    def __init__(self, kind: PathKind, title: str, recent: Sequence[RecentItem] = ()) -> None:
        """`recent`: what is offered while nothing is typed."""
        super().__init__()
        self._kind, self._title, self._recent = kind, title, recent
        self._cursor_moved = False
        self._listed_for: str | None = None  # the typed text that the list belongs to
        self._pending_action: tuple[str, Callable[[], None]] | None = None

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Static(Content.styled(self._title, "bold"), id="title")
            yield Input(placeholder=PLACEHOLDERS[self._kind], id="path", compact=True)
            with Horizontal(id="below"):
                yield PathTable()
                if self._kind == "image":
                    yield ImageBox()
            yield Static(id="problem")
            keys = (("enter", "open"), ("tab", "complete"), ("↑↓", "choose"), ("esc", "close"))
            parts = [line((key, tone("key", "bold")), f" {label}") for key, label in keys]
            yield Static(Content("   ").join(parts), id="keys")

    def on_mount(self) -> None:
        self.query_one(PathTable).can_focus = False
        self._list()

    # --- listing

    def _list(self) -> None:
        typed = self.query_one("#path", Input).value
        self.run_worker(lambda: self._read(typed), thread=True, exclusive=True, group="list", exit_on_error=False)

    def _read(self, typed: str) -> None:
        entries, problem = list_entries(typed, Path.cwd(), self._kind, self._recent)
        self.post_message(PathsListed(typed, entries, problem))

    def on_paths_listed(self, message: PathsListed) -> None:
        if message.typed != self.query_one("#path", Input).value:
            return
        table = self.query_one(PathTable)
        table.show(message.entries)
        table.cursor = 0
        self._listed_for = message.typed
        self._show_message("" if message.entries else message.problem)
        pending, self._pending_action = self._pending_action, None
        if pending is not None and pending[0] == message.typed:
            pending[1]()

    def _defer_until_listed(self, then: Callable[[], None]) -> bool:
        """Whether the list belongs to an earlier text; if so, `then` is called once it belongs to the current one."""
        typed = self.query_one("#path", Input).value
        if self._listed_for == typed:
            return False
        self._pending_action = typed, then
        return True

    def _show_message(self, text: str) -> None:
        self.query_one("#problem", Static).update(Content.styled(text, tone("dim")))

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._cursor_moved = False
        self._list()

    def on_table_moved(self) -> None:
        entry = self.query_one(PathTable).current
        for box in self.query(ImageBox):
            image = entry is not None and not entry.is_folder
            box.show([ImageView(self._path(entry.reference))] if image and entry is not None else [])

    # --- actions

    @property
    def _current(self) -> PathEntry | None:
        return self.query_one(PathTable).current

    def action_down(self) -> None:
        self._cursor_moved = True
        self.query_one(PathTable).action_down()

    def action_up(self) -> None:
        self._cursor_moved = True
        self.query_one(PathTable).action_up()

    def action_page_down(self) -> None:
        self._cursor_moved = True
        self.query_one(PathTable).action_page_down()

    def action_page_up(self) -> None:
        self._cursor_moved = True
        self.query_one(PathTable).action_page_up()

    def action_complete(self) -> None:
        if not self._defer_until_listed(self.action_complete) and self._current is not None:
            self._set_typed(self._current.reference)

    def action_close(self) -> None:
        self.dismiss(None)

    def on_table_chosen(self, message: Table.Chosen) -> None:
        message.stop()
        if self._current is not None:
            self._open_entry(self._current)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._submit()

    def _submit(self) -> None:
        typed, entry = self.query_one("#path", Input).value.strip(), self._current
        if typed.endswith("/") and not self._cursor_moved and self._defer_until_listed(self._submit):
            return
        if typed.endswith("/") and not self._cursor_moved and self._has_datasets():
            self._cursor_moved = True  # the next enter takes what the cursor is on
            self._show_message("enter again opens the whole folder as one dataset; ↓ chooses a file in it")
            return
        if typed and not self._cursor_moved and self._exists(typed):
            self._return_choice(typed)
        elif not self._cursor_moved and self._defer_until_listed(self._submit):
            return
        elif entry is not None and (self._cursor_moved or not typed or not self._may_be_hub_name(typed)):
            self._open_entry(entry)
        elif typed and self._may_be_hub_name(typed):
            self._return_choice(typed)
        elif typed:
            self._show_message("no such file")

    def _has_datasets(self) -> bool:
        """Whether the listed folder has files that are datasets of their own."""
        rows = self.query_one(PathTable).rows
        return self._kind == "dataset" and any(not (row.is_folder or row.is_this_folder) for row in rows)

    def _open_entry(self, entry: PathEntry) -> None:
        if entry.is_folder:
            self._set_typed(entry.reference)
        else:
            self._return_choice(entry.reference)

    def _set_typed(self, text: str) -> None:
        if printable(text) != text:  # an Input draws its value as it is, escape sequences included
            self._show_message("its name has unprintable characters")
            return
        box = self.query_one("#path", Input)
        box.value = text
        box.cursor_position = len(text)

    def _may_be_hub_name(self, typed: str) -> bool:
        """Whether the text can be a name on the hub: OWNER/NAME, or an alias of a model."""
        if self._kind == "image" or typed.startswith((".", "/", "~")) or typed.endswith("/"):
            return False
        return typed.count("/") == 1 or (self._kind == "model" and "/" not in typed)

    def _exists(self, typed: str) -> bool:
        path = self._path(typed)
        if self._kind == "image":
            return path.is_file()
        return path.is_file() if not typed.endswith("/") else path.is_dir()

    def _path(self, reference: str) -> Path:
        try:
            return expand_user(reference).absolute()
        except UsageError:  # unknown user: then it is no path
            return Path(reference).absolute()

    def _return_choice(self, reference: str) -> None:
        path = self._path(reference)
        try:
            exists = path.exists()
        except (OSError, ValueError):
            exists = False
        self.dismiss(str(path) if exists else reference)


def list_entries(typed: str, folder: Path, kind: PathKind, recent: Sequence[RecentItem]) -> tuple[list[PathEntry], str]:
    """What can be picked after `typed` was typed in `folder`; when that is nothing, why. For a thread."""
    entries: list[PathEntry] = []
    if not typed.strip():
        entries += [
            PathEntry(item.reference, one_line(item.reference, limit=300), opened_at=item.opened_at) for item in recent
        ]
    completion = complete_path(typed, folder, kind)
    if typed.endswith("/") and kind != "image" and _is_folder(folder, typed):
        entries.append(PathEntry(typed, "this folder as a dataset", is_this_folder=True))
    entries += completion.entries
    return entries[:MAX_ENTRIES], "" if entries else completion.problem


def _is_folder(folder: Path, typed: str) -> bool:
    try:
        return (folder / expand_user(typed)).is_dir()
    except (UsageError, OSError, ValueError):
        return False
