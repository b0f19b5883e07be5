"""Choosing one or several entries of a short list, and typing a name."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from mg_tui.core.text import one_line, printable
from mg_tui.tui.actions import bindings
from mg_tui.tui.choice import Choice
from mg_tui.tui.screens.modal import Dialog
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.table import Column, Table


class ChoiceTable(Table[Choice]):
    """The choices; marked ones have a dot."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("mark", "", 1),
        Column("title", "", 16, grow=1),
        Column("note", "", 14, grow=1, drop_rank=1),
    )

    def key_of(self, row: Choice) -> str:
        return row.id

    def cell_of(self, row: Choice, key: str, width: int) -> Content:
        if key == "mark":
            return Content.styled("●" if row.marked else " ", tone("smooth"))
        if key == "note":
            return Content.styled(one_line(row.note, limit=200), tone("dim"))
        return Content(one_line(row.title, limit=200))


class ChooseScreen(Dialog[tuple[str, ...] | None]):
    """Returns the ids of the chosen entries, one unless `several`; None when closed."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("choose")]
    AUTO_FOCUS = "ChoiceTable"

    def __init__(self, title: str, choices: Sequence[Choice], *, several: bool = False, help: str = "") -> None:
        super().__init__()
        self._title, self._choices, self._several, self._help = title, list(choices), several, help

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog") as dialog:
            dialog.border_title = Content(one_line(self._title, limit=70))
            marks = "space marks · " if self._several else ""
            dialog.border_subtitle = f"{marks}enter selects · esc closes"
            yield ChoiceTable()
            yield Static(id="about")

    def on_mount(self) -> None:
        table = self.query_one(ChoiceTable)
        table.styles.height = min(len(self._choices) + 1, 16)
        table.show(self._choices)
        marked = next((index for index, choice in enumerate(self._choices) if choice.marked), 0)
        if not self._several:
            table.move(marked)

    def on_table_moved(self) -> None:
        current = self.query_one(ChoiceTable).current
        description = (current.description if current is not None else "") or self._help
        self.query_one("#about", Static).update(Content.styled(printable(description, limit=600), tone("dim")))

    def on_table_chosen(self, message: Table.Chosen) -> None:
        message.stop()
        self.action_take()

    def action_mark(self) -> None:
        table = self.query_one(ChoiceTable)
        if not self._several or table.current is None:
            return
        choice = self._choices[table.cursor]
        self._choices[table.cursor] = replace(choice, marked=not choice.marked)
        table.show(list(self._choices))

    def action_take(self) -> None:
        current = self.query_one(ChoiceTable).current
        if self._several:
            self.dismiss(tuple(choice.id for choice in self._choices if choice.marked))
        elif current is not None:
            self.dismiss((current.id,))

    def action_close(self) -> None:
        self.dismiss(None)


class NameScreen(Dialog[str | None]):
    """Returns a name or another text of one line, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("choose")]
    AUTO_FOCUS = "Input"

    def __init__(
        self,
        title: str,
        description: str,
        *,
        value: str = "",
        placeholder: str = "a name",
        limit: int = 60,
        may_be_empty: bool = False,
    ) -> None:
        super().__init__()
        self._title, self._description, self._value = title, description, one_line(value)
        self._placeholder, self._limit, self._may_be_empty = placeholder, limit, may_be_empty

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog") as dialog:
            dialog.border_title = Content(one_line(self._title, limit=70))
            dialog.border_subtitle = "enter selects · esc closes"
            yield Input(self._value, placeholder=self._placeholder, max_length=self._limit, compact=True)
            yield Static(Content.styled(printable(self._description, limit=1_000), tone("dim")))
            yield Static(id="problem")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_take()

    def action_take(self) -> None:
        name = self.query_one(Input).value.strip()
        if (name or self._may_be_empty) and name == printable(name):
            self.dismiss(name)
        else:
            self.query_one("#problem", Static).update(line(("Enter a name with visible characters.", tone("failed"))))

    def action_mark(self) -> None:
        """Nothing to mark: the space is typed."""

    def action_close(self) -> None:
        self.dismiss(None)
