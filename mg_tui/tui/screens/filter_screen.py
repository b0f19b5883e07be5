"""A screen whose table is filtered by the words in a field above it."""

from typing import Any

from textual.widget import Widget
from textual.widgets import Input

from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.widgets.table import Table


class FilterScreen(GardenScreen[None]):
    """Opens and closes the field (actions `filter` and `clear`); subclasses show the rows that match `filter_text`."""

    filter_placeholder = ""

    def __init__(self) -> None:
        super().__init__()
        self.filter_text = ""
        self.filter_open = False  # whether the field is there

    @property
    def filtered_table(self) -> Table[Any]:
        """The table that is filtered."""
        raise NotImplementedError

    @property
    def below_filter(self) -> Widget:
        """The widget above which the field is mounted."""
        return self.filtered_table

    def show_filtered(self) -> None:
        """Show the rows that match `filter_text`."""
        raise NotImplementedError

    async def action_filter(self) -> None:
        if not self.filter_open:
            self.filter_open = True
            field = Input(self.filter_text, placeholder=self.filter_placeholder, id="filter", compact=True)
            await self.mount(field, before=self.below_filter)
        self.set_focus(self.query_one("#filter", Input))
        self.refresh_bindings()

    async def set_filter(self, words: str) -> None:
        """Filter by `words`, with the field open and the focus on the table."""
        self.filter_text = words
        await self.action_filter()
        self.query_one("#filter", Input).value = words
        self.show_filtered()
        self.set_focus(self.filtered_table)
        self.refresh_bindings()

    async def action_clear(self) -> None:
        self.filter_text, self.filter_open = "", False
        await self.query("#filter").remove()
        self.show_filtered()
        self.set_focus(self.filtered_table)
        self.refresh_bindings()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.filter_text = event.value
        self.show_filtered()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        if not event.value.strip():
            await self.action_clear()
        else:
            self.set_focus(self.filtered_table)
