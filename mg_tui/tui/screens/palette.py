"""The command palette, safe against fast keys."""

from textual.command import CommandList, CommandPalette

from mg_tui.tui.screens.base import DismissOnce


class GardenPalette(DismissOnce[None], CommandPalette):
    """Textual's, which pages through lines that are not laid out yet, and closes twice on two keys in one read."""

    def _action_command_list(self, action: str) -> None:
        commands = self.query_one(CommandList)
        # A list without room, as before its first layout and in a small window, has no lines to page through.
        if action.startswith("page") and (commands.highlighted or 0) not in commands._index_to_line:
            return
        super()._action_command_list(action)
