"""The fields of a form, one a row: name, value, and whether the value is the default. Groups fold."""

from typing import ClassVar, Final

from textual import events
from textual.binding import BindingType
from textual.content import Content
from textual.geometry import Offset
from textual.message import Message

from mg_tui.core.text import one_line
from mg_tui.tui import formatting
from mg_tui.tui.actions import ACTIONS_BY_ID, bindings, keys_in_use
from mg_tui.tui.form_row import FormRow
from mg_tui.tui.key_queue import KeyQueue
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.table import Column, Table

_HOLD_SECONDS: Final = 1.0  # how long keys are held for a screen that is about to open

NO_VALUE: Final = "–"  # stands for an empty value


class FormTable(Table[FormRow]):
    """Rows of a form; posts what is to be done with the selected one."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("form")]
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("mark", "", 1),
        Column("title", "Option", 21, grow=1, max_width=30),
        Column("value", "Value", 14, grow=3),
    )

    class ChangeRequested(Message):
        """A field is to be changed, or a group folded. `step`: to the next (1) or the previous choice (-1)."""

        def __init__(self, row: FormRow, step: int = 0) -> None:
            super().__init__()
            self.row, self.step = row, step

    class ResetRequested(Message):
        """A field is to be reset to its default."""

        def __init__(self, row: FormRow) -> None:
            super().__init__()
            self.row = row

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        # Ids of actions that open something which takes the focus, some of them by way of a thread.
        self.focus_actions: tuple[str, ...] = ("form.change",)

    def on_key(self, event: events.Key) -> None:
        """Keys typed after one that opens a screen are for that screen."""
        if any(event.key in keys_in_use(self.app, ACTIONS_BY_ID[id]) for id in self.focus_actions):
            self._key_queue.hold(_HOLD_SECONDS)

    def release_keys(self) -> None:
        """Deliver the held keys to what has the focus now."""
        self._key_queue.release()

    @property
    def _key_queue(self) -> KeyQueue:
        queue = getattr(self.app, "key_queue", None)
        return queue if isinstance(queue, KeyQueue) else KeyQueue(self.app)

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
        """Position of the value of the cursor's row within the widget, and its width in cells."""
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
    text = one_line(row.value, limit=2_000)
    if row.kind == "path" and len(text) > width:
        text = "…" + text[-max(width - 1, 1) :]  # the end of a path tells it apart
    if row.invalid:
        return Content.styled(text or NO_VALUE, tone("failed", "bold"))
    if row.missing:
        return Content.styled("needed", tone("eval", "bold"))
    if not text:
        return Content.styled(NO_VALUE, tone("dim"))
    if row.kind == "switch":
        on = text == "on"
        return line((("● on" if on else "○ off"), "bold" if row.changed else tone("smooth") if on else tone("dim")))
    value = Content.styled(text, "bold" if row.changed else "")
    if row.kind == "choice":
        return line(value, (" ▾", tone("dim")))
    unit = formatting.unit_after(text, row.unit)
    return line(value, (f" {unit}", tone("dim"))) if unit else value
