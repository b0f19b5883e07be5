"""The output folder of a merge, asked before it starts."""

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from mg_tui.core.errors import UsageError
from mg_tui.core.paths import expand_user
from mg_tui.runs.results import MODELS_FOLDER
from mg_tui.tui import formatting
from mg_tui.tui.actions import bindings
from mg_tui.tui.models.catalog import ModelRow
from mg_tui.tui.screens.modal import Dialog
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import line


class MergeScreen(Dialog[str | None]):
    """Returns a folder, or None."""

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
                    f"Merges the adapter ({formatting.size(row.bytes)}) into its base model, ",
                    (row.base, "bold"),
                    ". The result is reloaded and kept only if its answers match the adapter's. "
                    "Keep the dashboard open until it is done.",
                ),
                id="detail",
            )
            yield Static(Content.styled("Output folder (new or empty):", tone("dim")))
            yield Input(self._suggested, id="output", compact=True)
            yield Static(Content(), id="problem")
            keys = line(("enter", tone("key", "bold")), " merge    ", ("esc", tone("key", "bold")), " cancel")
            yield Static(keys, id="keys")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        value = event.value.strip()
        problem = _output_problem(value)
        if problem:
            self.query_one("#problem", Static).update(Content.styled(problem, tone("failed")))
        else:
            self.dismiss(str(expand_user(value).absolute()))

    def action_close(self) -> None:
        self.dismiss(None)


def unused_output_folder(folder: Path, row: ModelRow) -> Path:
    """A folder for the merged model that does not exist yet."""
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in row.title).strip("-.")[:60] or "model"
    output = folder / f"{name}-merged"
    number = 2
    while output.exists():
        output = folder / f"{name}-merged-{number}"
        number += 1
    return output


def _output_problem(folder: str) -> str | None:
    if not folder:
        return "enter a folder"
    try:
        path = expand_user(folder).absolute()
        if path.is_dir() and any(path.iterdir()):
            return "the folder is not empty"
        return "this is a file" if path.is_file() else None
    except (OSError, ValueError, UsageError):
        return "this cannot be a folder"
