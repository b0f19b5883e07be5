"""The command palette, safe against fast keys."""

from textual.await_complete import AwaitComplete
from textual.command import CommandList, CommandPalette


class GardenPalette(CommandPalette):
    """Textual's, which pages through lines that are not laid out yet, and closes twice on two keys in one read."""

    def dismiss(self, result: None = None) -> AwaitComplete:
        """As Textual's; nothing when this screen is not on top, because it was dismissed already."""
        return super().dismiss(result) if self.is_current else AwaitComplete()

    def _action_command_list(self, action: str) -> None:
        commands = self.query_one(CommandList)
        # A list without room, as before its first layout and in a small window, has no lines to page through.
        if action.startswith("page") and (commands.highlighted or 0) not in commands._index_to_line:
            return
        super()._action_command_list(action)
