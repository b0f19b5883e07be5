"""Every key, from the registry of actions."""

from collections.abc import Collection, Iterable
from dataclasses import replace

from textual.content import Content

from mg_tui.tui.actions import ACTIONS, Action, format_keys, group_actions, keys_in_use
from mg_tui.tui.screens.modal import TextModal
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, cell, hanging_indent, line


class KeyHelp(Lines):
    """All actions by their heading, those of the current screen first: keys, title, help."""

    def __init__(self, scopes: Collection[str] = ()) -> None:
        """`scopes`: those of the screen below."""
        super().__init__()
        self._scopes = scopes

    def _actions(self) -> list[Action]:
        """Every action, with the keys in use."""
        if not self.is_attached:
            return list(ACTIONS)
        return [replace(action, keys=keys_in_use(self.app, action)) for action in ACTIONS]

    def lines(self, width: int) -> list[Content]:
        actions = self._actions()
        current = [action for action in actions if action.scope in self._scopes]
        others = [action for action in actions if action.scope not in self._scopes]
        lines = _group_lines(current, width)
        if current and others:
            lines += [Content(), Content.styled(" Elsewhere ".center(width, "─"), tone("dim"))]
        return (lines + _group_lines(others, width))[1:]


def _group_lines(actions: Iterable[Action], width: int) -> list[Content]:
    lines: list[Content] = []
    for group, members in group_actions(actions).items():
        lines += [Content(), Content.styled(group, tone("key", "bold"))]
        for action in members:
            lines += _action_lines(action, width)
    return lines


def _action_lines(action: Action, width: int) -> list[Content]:
    title = 23 if width >= 64 else 0
    keys = cell(Content.styled(format_keys(action), "bold"), 13)
    text = Content.styled(action.help + (" Asks for confirmation." if action.destructive else ""), tone("dim"))
    left = line(keys, " ", cell(Content(action.title), title - 1), " ") if title else line(keys, " ")
    return hanging_indent(left, text, 14 + title, width)


class HelpScreen(TextModal):
    """The keys, to scroll through."""

    heading = "Keys"

    def __init__(self, scopes: Collection[str] = ()) -> None:
        """`scopes`: those of the screen below."""
        super().__init__()
        self._scopes = scopes

    def create_body(self) -> KeyHelp:
        return KeyHelp(self._scopes)
