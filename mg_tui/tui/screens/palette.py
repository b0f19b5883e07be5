"""The command palette, safe against fast keys."""

from contextlib import suppress

from textual.command import CommandList, CommandPalette
from textual.css.query import NoMatches
from textual.worker import Worker

from mg_tui.tui.screens.base import DismissOnce


class GardenPalette(DismissOnce[None], CommandPalette):
    """Textual's, which pages through lines that are not laid out yet, and closes twice on two keys in one read."""

    def _gather_commands(self, search_value: str) -> Worker[None]:
        """As Textual's, in a worker whose list may be gone before it is done: nothing is left to fill then."""
        work = self._gather_while_open(search_value)
        return self.run_worker(work, exclusive=True, group=self._GATHER_COMMANDS_GROUP)

    async def _gather_while_open(self, search_value: str) -> None:
        with suppress(NoMatches):
            await CommandPalette._gather_commands.__wrapped__(self, search_value)  # type: ignore[attr-defined]

    def _action_command_list(self, action: str) -> None:
        commands = self.query_one(CommandList)
        # A list without room, as before its first layout and in a small window, has no lines to page through.
        if action.startswith("page") and (commands.highlighted or 0) not in commands._index_to_line:
            return
        super()._action_command_list(action)
