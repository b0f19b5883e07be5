"""How a dataset is read: its format, its layout, and which field is which, each picked from what there is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from mg_tui.core.text import one_line
from mg_tui.tui.actions import bindings
from mg_tui.tui.datasets.open_dataset import DatasetOptions, OpenDataset
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.table import Column, Table


@dataclass(frozen=True, slots=True)
class OptionChoice:
    """One thing to choose: its attribute of `DatasetOptions`, its title, its values with words for them, the one taken."""

    name: str
    title: str
    values: tuple[tuple[str | None, str], ...]
    selected: int = 0

    @property
    def value(self) -> str | None:
        """The value that is taken; None leaves it to be recognised."""
        return self.values[self.selected][0]


class OptionTable(Table[OptionChoice]):
    """What can be chosen; the value under the cursor is changed with ← and →."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (Column("title", "", 10), Column("value", "", 30, grow=1))

    def key_of(self, row: OptionChoice) -> str:
        return row.name

    def cell_of(self, row: OptionChoice, key: str, width: int) -> Content:
        if key == "title":
            return Content.styled(row.title, tone("dim"))
        value, said = row.values[row.selected]
        many = len(row.values) > 1
        look = tone("dim") if value is None else "bold"
        arrows = ("◂ ", " ▸") if many else ("  ", "")
        return line((arrows[0], tone("key")), (said, look), (arrows[1], tone("key")))


class ReadOptionsScreen(ModalScreen[DatasetOptions | None]):
    """Answers with a reading, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("reading")]
    AUTO_FOCUS = "OptionTable"

    def __init__(self, reading: DatasetOptions, opened: OpenDataset | None) -> None:
        """`opened` is None when the dataset could not be opened as it was to be read."""
        super().__init__()
        self._options = reading
        self._dataset = opened

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Static(Content.styled("How is it read?", "bold"))
            why = self._dataset.recognised.why if self._dataset is not None else "It could not be opened as it is."
            yield Static(Content(one_line(why, limit=300)), id="detail")
            yield OptionTable()
            keys = (("←→", "another"), ("enter", "read it this way"), ("esc", "leave it"))
            parts = [line((key, tone("key", "bold")), f" {what}") for key, what in keys]
            yield Static(Content("   ").join(parts), id="keys")

    def on_mount(self) -> None:
        self.query_one(OptionTable).show(build_choices(self._options, self._dataset))

    def _change(self, by: int) -> None:
        table = self.query_one(OptionTable)
        choice = table.current
        if choice is not None:
            changed = replace(choice, selected=(choice.selected + by) % len(choice.values))
            table.show([changed if row.name == choice.name else row for row in table.rows])

    def action_another(self) -> None:
        self._change(1)

    def action_before(self) -> None:
        self._change(-1)

    def action_use(self) -> None:
        chosen: dict[str, Any] = {row.name: row.value for row in self.query_one(OptionTable).rows}
        self.dismiss(replace(self._options, **chosen))

    def action_close(self) -> None:
        self.dismiss(None)


def build_choices(reading: DatasetOptions, opened: OpenDataset | None) -> list[OptionChoice]:
    """What can be chosen for a dataset, with what is chosen now."""
    from mg_tui.data.sources.base import FORMATS
    from mg_tui.data.sources.layouts import LAYOUTS
    from mg_tui.data.sources.splits import SPLIT_NAMES

    known = opened.recognised if opened is not None else None
    format_now = f"recognised: {FORMATS.get(known.format, known.format)}" if known else "to be recognised"
    layouts = [(key, f"{key}: {title}") for key, title in LAYOUTS.items()]
    found = [
        _build_choice("format", "Format", list(FORMATS.items()), reading.format, format_now),
        _build_choice(
            "layout", "Layout", layouts, reading.layout, f"recognised: {known.layout}" if known else "recognised"
        ),
        _build_choice(
            "split", "Split", [(name, name) for name in SPLIT_NAMES], reading.split, "the only one, or train"
        ),
    ]
    if opened is None:
        return found
    names = [(name, one_line(name, limit=80)) for name in opened.field_names()]
    for name, title, used in (
        ("text_field", "Question", opened.fields.text),
        ("image_field", "Images", opened.fields.image),
        ("response_field", "Answer", opened.fields.response),
    ):
        found.append(_build_choice(name, title, names, getattr(reading, name), f"found: {one_line(used, limit=80)}"))
    return found


def _build_choice(
    name: str, title: str, values: Sequence[tuple[str, str]], chosen: str | None, otherwise: str
) -> OptionChoice:
    listed: list[tuple[str | None, str]] = [(None, otherwise), *values]
    at = next((index for index, (value, _said) in enumerate(listed) if value == chosen), 0)
    return OptionChoice(name, title, tuple(listed), at)
