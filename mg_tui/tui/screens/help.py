"""Every key, from the registry of actions."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen

from mg_tui.tui.actions import ACTIONS, Action, bindings, grouped, key_names
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


class HelpScreen(ModalScreen[None]):
    """The keys, to scroll through."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("help", "log")]
    AUTO_FOCUS = "#keys"

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="keys") as keys:
            keys.border_title = "Keys"
            keys.border_subtitle = "esc closes"
            yield Keys()

    def action_close(self) -> None:
        self.dismiss(None)

    def _text(self) -> VerticalScroll:
        return self.query_one("#keys", VerticalScroll)

    def action_scroll_down(self) -> None:
        self._text().scroll_down(animate=False)

    def action_scroll_up(self) -> None:
        self._text().scroll_up(animate=False)

    def action_scroll_home(self) -> None:
        self._text().scroll_home(animate=False)

    def action_scroll_end(self) -> None:
        self._text().scroll_end(animate=False)

    def action_page_down(self) -> None:
        self._text().scroll_page_down(animate=False)

    def action_page_up(self) -> None:
        self._text().scroll_page_up(animate=False)
