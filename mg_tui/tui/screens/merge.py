"""Where the merged model goes, asked before a merge begins."""

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from mg_tui.core.paths import expand_user
from mg_tui.runs.results import MODELS_FOLDER
from mg_tui.tui import formatting
from mg_tui.tui.actions import bindings
from mg_tui.tui.models.catalog import ModelRow
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import line


class MergeScreen(ModalScreen[str | None]):
    """Answers with a folder, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("merge")]
    AUTO_FOCUS = "#output"

    def __init__(self, row: ModelRow, home: Path) -> None:
        super().__init__()
        self._row = row
        self._suggested = str(unused_output_folder(home / MODELS_FOLDER, row))

    def compose(self) -> ComposeResult:
        row = self._row
        with Vertical(id="dialog"):
            yield Static(Content.styled(f"Merge {row.title}?", "bold"))
            yield Static(
                line(
                    f"One model of the adapter ({formatting.size(row.bytes)}) and its base, ",
                    (row.base, "bold"),
                    ". It is saved, loaded again, and kept only if it answers like the adapter does. "
                    "It goes on while the dashboard is open.",
                ),
                id="detail",
            )
            yield Static(Content.styled("A new or empty folder:", tone("dim")))
            yield Input(self._suggested, id="output", compact=True)
            yield Static(Content(), id="problem")
            keys = line(("enter", tone("key", "bold")), " merge    ", ("esc", tone("key", "bold")), " leave it")
            yield Static(keys, id="keys")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        given = event.value.strip()
        problem = _output_problem(given)
        if problem:
            self.query_one("#problem", Static).update(Content.styled(problem, tone("failed")))
        else:
            self.dismiss(str(expand_user(given).absolute()))

    def action_close(self) -> None:
        self.dismiss(None)


def unused_output_folder(folder: Path, row: ModelRow) -> Path:
    """A folder for the merged model that is not there yet."""
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in row.title).strip("-.")[:60] or "model"
    tried = folder / f"{name}-merged"
    number = 2
    while tried.exists():
        tried = folder / f"{name}-merged-{number}"
        number += 1
    return tried


def _output_problem(given: str) -> str | None:
    if not given:
        return "name a folder"
    try:
        path = expand_user(given).absolute()
        if path.is_dir() and any(path.iterdir()):
            return "that folder is not empty"
        return "that is a file" if path.is_file() else None
    except (OSError, ValueError, RuntimeError):
        return "that cannot be a folder"
