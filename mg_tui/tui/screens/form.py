"""The base of screens with a form: the field editor, choices, folding groups, and the help of the selected field."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from textual.app import ComposeResult
from textual.containers import Container
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input

from mg_tui.tui.choice import Choice
from mg_tui.tui.form_row import FieldHelp, FormRow
from mg_tui.tui.path_completion import complete_path
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.screens.choose import ChooseScreen
from mg_tui.tui.widgets.form.editor import Completions, FieldEditor
from mg_tui.tui.widgets.form.field_help import FieldHelpPane
from mg_tui.tui.widgets.form.table import NO_VALUE, FormTable

R = TypeVar("R")
MAX_COMPLETIONS: Final = 40
TIGHT_COLUMNS: Final = 76  # below, a form leaves the whole width to its values (class `-tight`)


class FieldDescription(Protocol):
    """What a form needs to know of a field."""

    @property
    def title(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def choices(self) -> tuple[str, ...]: ...


class PathsCompleted(Message):
    """The paths that `text` can be completed to."""

    def __init__(self, text: str, paths: tuple[str, ...]) -> None:
        super().__init__()
        self.text, self.paths = text, paths


class FormScreen(GardenScreen[None]):
    """Subclasses define the fields and hold their values."""

    AUTO_FOCUS = "FormTable"
    editing: str | None = None

    # --- for subclasses

    def form_rows(self) -> list[FormRow]:
        """The rows as they are now."""
        raise NotImplementedError

    def field(self, id: str) -> FieldDescription:
        """A field."""
        raise NotImplementedError

    def value_text(self, id: str) -> str:
        """A field's value as text."""
        raise NotImplementedError

    def validate_value(self, id: str, text: str) -> str:
        """The problem of a value; empty when it is valid."""
        raise NotImplementedError

    def set_value(self, id: str, value: Any) -> None:
        """Give a field a value."""
        raise NotImplementedError

    def reset(self, id: str) -> None:
        """Give a field its default."""
        raise NotImplementedError

    def field_help(self, id: str, group: bool) -> FieldHelp:
        """The help of a field, or of a group."""
        raise NotImplementedError

    def empty_help(self) -> FieldHelp | None:
        """The help when there is no row."""
        return None

    def toggle_group(self, id: str) -> None:
        """Fold or unfold a group."""

    def open_picker(self, row: FormRow) -> bool:
        """Open a picker for a value; False when the value is to be typed."""
        return False

    # --- the form

    def compose_form(self) -> ComposeResult:
        """The table with the field editor over it."""
        with Container(classes="form-box"):
            yield FormTable()
            yield FieldEditor()
            yield Completions()

    @property
    def table(self) -> FormTable:
        """The rows."""
        return self.query_one(FormTable)

    @property
    def editor(self) -> FieldEditor:
        """The field editor."""
        return self.query_one(FieldEditor)

    def draw_form(self) -> None:
        """Show the rows as they are."""
        self.table.show(self.form_rows())
        self._update_help()

    def on_table_moved(self) -> None:
        if self.editing is None:
            self._update_help()
            self.refresh_bindings()

    def _update_help(self, text: str | None = None) -> None:
        row = self.table.current
        pane = self.query_one(FieldHelpPane)
        if row is None:
            pane.field_help = self.empty_help()
            return
        field_help = self.field_help(row.id, row.is_group)
        if text is not None:
            field_help = replace(field_help, problem=self.validate_value(row.id, text))
        pane.field_help = field_help

    def on_form_table_change_requested(self, message: FormTable.ChangeRequested) -> None:
        row, step = message.row, message.step
        if row.is_group:
            self.toggle_group(row.id)
            self.table.release_keys()
            return
        field = self.field(row.id)
        if field.kind == "switch":
            self.set_value(row.id, self.value_text(row.id) != "on")
            self.table.release_keys()
        elif field.kind == "choice" and step:
            self._cycle(row.id, field, step)
        elif field.kind == "choice" or (field.kind == "list" and field.choices):
            self._choose(row.id, field)
        elif not self.open_picker(row):
            self.edit(row)

    def on_form_table_reset_requested(self, message: FormTable.ResetRequested) -> None:
        self.reset(message.row.id)

    def on_table_chosen(self, message: FormTable.Chosen) -> None:
        message.stop()
        self.table.action_change()

    def _cycle(self, id: str, field: FieldDescription, step: int) -> None:
        choices = list(field.choices)
        current = self.value_text(id)
        index = choices.index(current) + step if current in choices else 0
        self.set_value(id, choices[index % len(choices)])

    def _choose(self, id: str, field: FieldDescription) -> None:
        several = field.kind == "list"
        current = {part.strip() for part in self.value_text(id).split(",")} if several else {self.value_text(id)}
        choices = [Choice(choice, choice, marked=choice in current) for choice in field.choices]
        help = self.field_help(id, False).help

        def set_chosen(ids: tuple[str, ...] | None) -> None:
            if ids is not None:
                self.set_value(id, ids if several else ids[0])

        self.push_over_form(ChooseScreen(field.title, choices, several=several, help=help), set_chosen)

    def push_over_form(self, screen: Screen[R], callback: Callable[[R | None], Any] | None = None) -> None:
        """Open a screen over the form; keys that arrived meanwhile go to it."""
        self.app.push_screen(screen, callback)
        screen.call_after_refresh(self.table.release_keys)

    # --- typing

    def edit(self, row: FormRow) -> None:
        """Type another value over a row."""
        self.editing = row.id
        offset, width = self.table.value_position()
        self.editor.open(self.value_text(row.id), offset, width, placeholder="" if row.missing else NO_VALUE)
        self.set_focus(self.editor)
        self._complete(self.editor.value)
        self.table.release_keys()
        self.refresh_bindings()

    def _close_editor(self) -> None:
        self.editing = None
        self.editor.close()
        self.query_one(Completions).close()
        self.set_focus(self.table)
        self._update_help()
        self.refresh_bindings()

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input is not self.editor:
            return
        event.stop()
        if self.editing is not None:
            self._update_help(event.value)
            self.editor.set_class(bool(self.validate_value(self.editing, event.value)), "-wrong")
            self._complete(event.value)

    def on_resize(self) -> None:
        self.set_class(self.size.width < TIGHT_COLUMNS, "-tight")
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        """A hidden widget has lost the focus; the field editor moves with its row."""
        if not self.query(FormTable):  # closed since the resize
            return
        if self.editing is not None:
            offset, width = self.table.value_position()
            self.editor.place(offset, width)
        if self.focused is None and self.table.display:
            self.set_focus(self.editor if self.editing is not None else self.table)

    def on_field_editor_accepted(self, message: FieldEditor.Accepted) -> None:
        id = self.editing
        if id is None:
            return
        selected = self.query_one(Completions).selected
        text = selected if selected is not None and self._completion_moved else message.text
        self._close_editor()
        self.set_value(id, text)
        if message.step:
            self.table.move(self.table.cursor + message.step)

    def on_field_editor_cancelled(self) -> None:
        self._close_editor()

    def on_field_editor_completion_requested(self, message: FieldEditor.CompletionRequested) -> None:
        completions = self.query_one(Completions)
        if message.step:
            self._completion_moved = True
            completions.step(message.step)
        elif completions.selected is not None:
            self._completion_moved = False
            self.editor.value = completions.selected
            self.editor.cursor_position = len(self.editor.value)

    _completion_moved = False  # whether enter takes the selected completion

    def _complete(self, text: str) -> None:
        self._completion_moved = False
        if self.editing is None or self.field(self.editing).kind != "path":
            return

        def work() -> None:
            entries = complete_path(text, self.base_folder, limit=MAX_COMPLETIONS).entries
            self.post_message(PathsCompleted(text, tuple(entry.reference for entry in entries)))

        self.run_worker(work, thread=True, exclusive=True, group="complete", exit_on_error=False)

    @property
    def base_folder(self) -> Path:
        """The folder that relative paths start from."""
        return Path.cwd()

    def on_paths_completed(self, message: PathsCompleted) -> None:
        if self.editing is None or message.text != self.editor.value:
            return
        paths = tuple(path for path in message.paths if path != message.text)
        offset, width = self.table.value_position()
        self.query_one(Completions).open(paths, offset, width, self.table.size.height)
        self.editor.has_completions = bool(paths)

    # --- so that the line of keys can be clicked

    def action_change(self) -> None:
        self.table.action_change()

    def action_take(self) -> None:
        self.editor.action_take()

    def action_leave(self) -> None:
        self.editor.action_leave()

    def action_complete(self) -> None:
        self.editor.action_complete()

    async def action_reset(self) -> None:
        self.table.action_reset()
