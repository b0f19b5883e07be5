"""The file that marked rows are written to, asked before it is."""

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from mg_tui.core.errors import GardenError, UsageError
from mg_tui.core.paths import expand_user
from mg_tui.tui import formatting
from mg_tui.tui.actions import bindings
from mg_tui.tui.screens.modal import Dialog
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import line


class HardRowsScreen(Dialog[Path | None]):
    """Returns the file, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("hard")]
    AUTO_FOCUS = "#output"

    def __init__(self, count: int, dataset: str, suggested: Path) -> None:
        super().__init__()
        self._count, self._dataset, self._suggested = count, dataset, suggested

    def compose(self) -> ComposeResult:
        rows = formatting.count(self._count, "row")
        with Vertical(id="dialog"):
            yield Static(Content.styled(f"Write {rows} to a new dataset?", "bold"))
            text = line("Read again from ", (self._dataset, "bold"), ", with all columns.")
            yield Static(text, id="detail")
            yield Static(Content.styled("A new JSON Lines file:", tone("dim")))
            yield Input(str(self._suggested), id="output", compact=True)
            yield Static(Content(), id="problem")
            keys = line(("enter", tone("key", "bold")), " write    ", ("esc", tone("key", "bold")), " cancel")
            yield Static(keys, id="keys")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        try:
            self.dismiss(_usable_file(event.value.strip()))
        except (GardenError, OSError, ValueError) as error:
            what = error.what if isinstance(error, GardenError) else "that cannot be a file"
            self.query_one("#problem", Static).update(Content.styled(what, tone("failed")))

    def action_close(self) -> None:
        self.dismiss(None)


def _usable_file(text: str) -> Path:
    """The file of a typed path; raises UsageError, OSError or ValueError."""
    from mg_tui.data.dataset_writer import require_output_free

    if not text:
        raise UsageError("name a file")
    path = expand_user(text).absolute()
    if path.suffix != ".jsonl":
        raise UsageError("a file of JSON Lines ends with .jsonl")
    require_output_free(path, force=False)
    return path
