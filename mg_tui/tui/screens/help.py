"""Every key, from the registry of actions."""

from textual.content import Content

from mg_tui.tui.actions import ACTIONS, Action, grouped, key_names
from mg_tui.tui.screens.modal import TextModal
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, cell, hanging, line


class Keys(Lines):
    """All actions by their heading: keys, title, and the help where there is room, else below."""

    def lines(self, width: int) -> list[Content]:
        lines: list[Content] = []
        for group, actions in grouped(ACTIONS).items():
            lines += [Content(), Content.styled(group, tone("key", "bold"))]
            for action in actions:
                lines += _action_lines(action, width)
        return lines[1:]


def _action_lines(action: Action, width: int) -> list[Content]:
    title = 23 if width >= 64 else 0
    keys = cell(Content.styled(key_names(action), "bold"), 13)
    said = Content.styled(action.help + (" Asks first." if action.destructive else ""), tone("dim"))
    left = line(keys, " ", cell(Content(action.title), title - 1), " ") if title else line(keys, " ")
    return hanging(left, said, 14 + title, width)


class HelpScreen(TextModal):
    """The keys, to scroll through."""

    heading = "Keys"

    def body(self) -> Keys:
        return Keys()
