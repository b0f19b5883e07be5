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
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.datasets.opened import Opened, Reading
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.table import Column, Table


@dataclass(frozen=True, slots=True)
class Choice:
    """One thing to choose: its attribute of `Reading`, its title, its values with words for them, the one taken."""

    name: str
    title: str
    values: tuple[tuple[str | None, str], ...]
    at: int = 0

    @property
    def value(self) -> str | None:
        """The value that is taken; None leaves it to be recognised."""
        return self.values[self.at][0]


class ChoiceTable(Table[Choice]):
    """What can be chosen; the value under the cursor is changed with ← and →."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (Column("title", "", 10), Column("value", "", 30, grow=1))

    def key_of(self, row: Choice) -> str:
        return row.name

    def cell_of(self, row: Choice, key: str, width: int) -> Content:
        if key == "title":
            return Content.styled(row.title, tone("dim"))
        value, said = row.values[row.at]
        many = len(row.values) > 1
        look = tone("dim") if value is None else "bold"
        arrows = ("◂ ", " ▸") if many else ("  ", "")
        return line((arrows[0], tone("key")), (said, look), (arrows[1], tone("key")))


class ReadAsScreen(ModalScreen[Reading | None]):
    """Answers with a reading, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("reading")]
    AUTO_FOCUS = "ChoiceTable"

    def __init__(self, reading: Reading, opened: Opened | None) -> None:
        """`opened` is None when the dataset could not be opened as it was to be read."""
        super().__init__()
        self._reading = reading
        self._opened = opened

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Static(Content.styled("How is it read?", "bold"))
            why = self._opened.recognised.why if self._opened is not None else "It could not be opened as it is."
            yield Static(Content(one_line(why, limit=300)), id="detail")
            yield ChoiceTable()
            keys = (("←→", "another"), ("enter", "read it this way"), ("esc", "leave it"))
            parts = [line((key, tone("key", "bold")), f" {what}") for key, what in keys]
            yield Static(Content("   ").join(parts), id="keys")

    def on_mount(self) -> None:
        self.query_one(ChoiceTable).show(choices_of(self._reading, self._opened))

    def _change(self, by: int) -> None:
        table = self.query_one(ChoiceTable)
        choice = table.current
        if choice is not None:
            changed = replace(choice, at=(choice.at + by) % len(choice.values))
            table.show([changed if row.name == choice.name else row for row in table.rows])

    def action_another(self) -> None:
        self._change(1)

    def action_before(self) -> None:
        self._change(-1)

    def action_use(self) -> None:
        chosen: dict[str, Any] = {row.name: row.value for row in self.query_one(ChoiceTable).rows}
        self.dismiss(replace(self._reading, **chosen))

    def action_close(self) -> None:
        self.dismiss(None)


def choices_of(reading: Reading, opened: Opened | None) -> list[Choice]:
    """What can be chosen for a dataset, with what is chosen now."""
    from mg_tui.data.sources.base import FORMATS
    from mg_tui.data.sources.layouts import LAYOUTS
    from mg_tui.data.sources.splits import SPLITS

    known = opened.recognised if opened is not None else None
    format_now = f"recognised: {FORMATS.get(known.format, known.format)}" if known else "to be recognised"
    layouts = [(key, f"{key}: {title}") for key, title in LAYOUTS.items()]
    found = [
        _choice("format", "Format", list(FORMATS.items()), reading.format, format_now),
        _choice("layout", "Layout", layouts, reading.layout, f"recognised: {known.layout}" if known else "recognised"),
        _choice("split", "Split", [(name, name) for name in SPLITS], reading.split, "the only one, or train"),
    ]
    if opened is None:
        return found
    names = [(name, one_line(name, limit=80)) for name in opened.names()]
    for name, title, used in (
        ("text_field", "Question", opened.fields.text),
        ("image_field", "Pictures", opened.fields.image),
        ("response_field", "Answer", opened.fields.response),
    ):
        found.append(_choice(name, title, names, getattr(reading, name), f"found: {one_line(used, limit=80)}"))
    return found


def _choice(name: str, title: str, values: Sequence[tuple[str, str]], chosen: str | None, otherwise: str) -> Choice:
    listed: list[tuple[str | None, str]] = [(None, otherwise), *values]
    at = next((index for index, (value, _said) in enumerate(listed) if value == chosen), 0)
    return Choice(name, title, tuple(listed), at)
