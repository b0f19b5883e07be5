"""Every key, from the registry of actions."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from textual.content import Content

from mg_tui.tui.actions import ACTIONS, Action, format_keys, group_actions
from mg_tui.tui.screens.modal import TextModal
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, cell, hanging_indent, line


class KeyHelp(Lines):
    """All actions by their heading, those that do something `here` first: keys, title, and what they do."""

    def __init__(self, here: Collection[str] = ()) -> None:
        """`here`: where actions are carried out on the screen below."""
        super().__init__()
        self._scopes = here

    def _actions(self) -> list[Action]:
        """Every action, with the keys that a person gave it."""
        chosen: Mapping[str, tuple[str, ...]] = getattr(self.app, "custom_keys", {}) if self.is_attached else {}
        return [replace(action, keys=chosen.get(action.id, action.keys)) for action in ACTIONS]

    def lines(self, width: int) -> list[Content]:
        actions = self._actions()
        near = [action for action in actions if action.scope in self._scopes]
        far = [action for action in actions if action.scope not in self._scopes]
        lines = _group_lines(near, width)
        if near and far:
            lines += [Content(), Content.styled(" Elsewhere ".center(width, "─"), tone("dim"))]
        return (lines + _group_lines(far, width))[1:]


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
    said = Content.styled(action.help + (" Asks first." if action.destructive else ""), tone("dim"))
    left = line(keys, " ", cell(Content(action.title), title - 1), " ") if title else line(keys, " ")
    return hanging_indent(left, said, 14 + title, width)


class HelpScreen(TextModal):
    """The keys, to scroll through."""

    heading = "Keys"

    def __init__(self, here: Collection[str] = ()) -> None:
        """`here`: where actions are carried out on the screen below."""
        super().__init__()
        self._scopes = here

    def create_body(self) -> KeyHelp:
        return KeyHelp(self._scopes)
