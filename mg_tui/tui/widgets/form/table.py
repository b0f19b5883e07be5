"""The fields of a form, one a row: name, value, and whether the value is the default. Groups fold."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from textual import events
from textual.binding import BindingType
from textual.content import Content
from textual.geometry import Offset
from textual.message import Message
from textual.timer import Timer

from mg_tui.core.text import one_line
from mg_tui.tui.actions import ACTIONS_BY_ID, bindings
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.table import Column, Table

_HOLD_SECONDS: Final = 1.0  # seconds that keys are kept for something that opens

FormRowKind = Literal["group", "text", "path", "integer", "number", "switch", "choice", "list"]


@dataclass(frozen=True, slots=True)
class FormRow:
    """A field, or the heading of a group.

    Attributes:
        id: what stays the same about it.
        title, value, unit: as shown; made safe when drawn.
        kind: of the field.
        changed: it differs from the default.
        wrong: its value cannot be used.
        needed: it has no value and must have one.
        open: of a group, whether its fields are shown.
        empty: what stands for no value.
    """

    id: str
    title: str
    value: str = ""
    kind: str = "text"
    unit: str = ""
    changed: bool = False
    invalid: bool = False
    missing: bool = False
    expanded: bool = False
    placeholder: str = "–"

    @property
    def is_group(self) -> bool:
        """Whether it is a heading."""
        return self.kind == "group"


class FormTable(Table[FormRow]):
    """Rows to move over; what is to be done with one is posted."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("form")]
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("mark", "", 1),
        Column("title", "Option", 21, grow=1, max_width=30),
        Column("value", "Value", 14, grow=3),
    )

    class ChangeRequested(Message):
        """A field is to be changed, or a group folded. `step`: to the next (1) or the choice before (-1)."""

        def __init__(self, row: FormRow, step: int = 0) -> None:
            super().__init__()
            self.row, self.step = row, step

    class ResetRequested(Message):
        """A field is to have its default again."""

        def __init__(self, row: FormRow) -> None:
            super().__init__()
            self.row = row

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.focus_actions: tuple[str, ...] = (
            "form.change",
            "app.command_palette",
        )  # ids of actions that take the focus
        self._held_keys: list[events.Key] | None = None
        self._hold_timer: Timer | None = None

    def on_key(self, event: events.Key) -> None:
        """Over a slow link several keys come at once: what follows the one that opens something is for that."""
        if self._held_keys is not None:
            self._held_keys.append(event)
            event.stop()
            event.prevent_default()
        elif any(event.key in self._keys_of(id) for id in self.focus_actions):
            self._held_keys = []
            self._hold_timer = self.set_timer(_HOLD_SECONDS, self.release_keys)  # for what does not open after all

    def _keys_of(self, id: str) -> Collection[str]:
        chosen: Mapping[str, tuple[str, ...]] = getattr(self.app, "custom_keys", {})
        return chosen.get(id, ACTIONS_BY_ID[id].keys)

    def release_keys(self) -> None:
        """Let the keys that came meanwhile go to what has the focus now."""
        if self._hold_timer is not None:
            self._hold_timer.stop()
        held, self._held_keys = self._held_keys, None
        if held:
            # By the application itself: a key does not rise beyond whoever sent it, and bindings are looked up above.
            self.app.call_next(self._replay_keys, held)

    def _replay_keys(self, held: list[events.Key]) -> None:
        for event in held:
            self.app.post_message(events.Key(event.key, event.character))

    def key_of(self, row: FormRow) -> str:
        return f"{row.kind == 'group'} {row.id}"

    def cell_of(self, row: FormRow, key: str, width: int) -> Content:
        if row.is_group:
            return _heading_cell(row, key)
        if key == "mark":
            if row.invalid:
                return Content.styled("✗", tone("failed", "bold"))
            return Content.styled("●", tone("eval")) if row.changed else Content(" ")
        if key == "title":
            return Content.styled(one_line(row.title), "bold" if row.changed else "")
        return _value_cell(row, width)

    def go_to_field(self, id: str) -> None:
        """Put the cursor on a field."""
        for index, row in enumerate(self.rows):
            if row.id == id and not row.is_group:
                self.move(index)

    def value_position(self) -> tuple[Offset, int]:
        """Where the value of the cursor's row is drawn within the widget, and how wide it is."""
        x = self.styles.padding.left
        for column, width in self._column_layout():
            if column.key == "value":
                return Offset(x, self.cursor + 1 - self.scroll_offset.y), width
            x += width + self._gap
        return Offset(x, self.cursor + 1 - self.scroll_offset.y), self.size.width - x

    def action_change(self) -> None:
        if self.current is not None:
            self.post_message(self.ChangeRequested(self.current))

    def action_switch(self) -> None:
        if self.current is not None and self.current.kind in ("switch", "choice", "group"):
            self.post_message(self.ChangeRequested(self.current, 1))

    def action_later(self) -> None:
        self._step(1)

    def action_earlier(self) -> None:
        self._step(-1)

    def _step(self, step: int) -> None:
        if self.current is not None and self.current.kind in ("switch", "choice", "group"):
            self.post_message(self.ChangeRequested(self.current, step))

    def action_reset(self) -> None:
        if self.current is not None and not self.current.is_group:
            self.post_message(self.ResetRequested(self.current))


def _heading_cell(row: FormRow, key: str) -> Content:
    if key == "mark":
        return Content.styled("▾" if row.expanded else "▸", tone("key", "bold"))
    if key == "title":
        return Content.styled(one_line(row.title), tone("key", "bold"))
    return Content.styled(one_line(row.value), tone("eval") if row.changed else tone("dim"))


def _value_cell(row: FormRow, width: int) -> Content:
    shown = one_line(row.value, limit=2_000)
    if row.kind == "path" and len(shown) > width:
        shown = "…" + shown[-max(width - 1, 1) :]  # of a path, the end says which it is
    if row.invalid:
        return Content.styled(shown or row.placeholder, tone("failed", "bold"))
    if row.missing:
        return Content.styled("needed", tone("eval", "bold"))
    if not shown:
        return Content.styled(row.placeholder, tone("dim"))
    if row.kind == "switch":
        on = shown == "on"
        return line((("● on" if on else "○ off"), "bold" if row.changed else tone("smooth") if on else tone("dim")))
    value = Content.styled(shown, "bold" if row.changed else "")
    if row.kind == "choice":
        return line(value, (" ▾", tone("dim")))
    return line(value, (f" {row.unit}", tone("dim"))) if row.unit else value
