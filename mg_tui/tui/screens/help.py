"""Every key, from the registry of actions."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any, ClassVar

from textual.app import App
from textual.binding import BindingType
from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Input

from mg_tui.tui.actions import (
    ACTIONS,
    Action,
    bindings,
    format_key,
    format_keys,
    group_actions,
    is_available,
    keys_in_use,
)
from mg_tui.tui.screens.modal import TextModal
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, cell, hanging_indent, line


class KeyHelp(Lines):
    """All actions by their heading, those of the current screen first: keys, title, help."""

    query_text: reactive[str] = reactive("", repaint=False)

    def __init__(self, scopes: Collection[str] = ()) -> None:
        """`scopes`: those of the screen below."""
        super().__init__()
        self._scopes = scopes

    def watch_query_text(self) -> None:
        self.redraw()

    def _actions(self) -> list[Action]:
        """Every action that is searched for, with the keys in use."""
        if not self.is_attached:
            return list(ACTIONS)
        actions = (replace(_explained(self.app, action), keys=keys_in_use(self.app, action)) for action in ACTIONS)
        return [action for action in actions if matches_query(action, self.query_text)]

    def lines(self, width: int) -> list[Content]:
        actions = self._actions()
        current = [action for action in actions if action.scope in self._scopes]
        others = [action for action in actions if action.scope not in self._scopes]
        lines = _group_lines(current, width)
        if current and others:
            lines += [Content(), Content.styled(" Elsewhere ".center(width, "─"), tone("dim"))]
        lines = (lines + _group_lines(others, width))[1:]
        return lines or [Content.styled("No key does that; esc shows all of them.", tone("dim"))]


def _explained(app: App[Any], action: Action) -> Action:
    """An action that does not work here has the reason in place of its help."""
    return action if is_available(app, action) else replace(action, help=f"Not with --server: {action.local_only}")


def matches_query(action: Action, query: str) -> bool:
    """Whether every word of `query` is in an action's title, help or heading, or `query` is one of its keys."""
    keys = {key for name in action.keys for key in (name.casefold(), format_key(name).casefold())}
    text = f"{action.title} {action.help} {action.group} {action.id}".casefold()
    return query.casefold().strip() in keys or all(word in text for word in query.casefold().split())


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
    """The keys, to scroll through and to search."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("keys")]
    heading = "Keys"
    hint = "/ finds · esc closes"

    def __init__(self, scopes: Collection[str] = ()) -> None:
        """`scopes`: those of the screen below."""
        super().__init__()
        self._scopes = scopes

    def create_body(self) -> KeyHelp:
        return KeyHelp(self._scopes)

    async def action_find(self) -> None:
        if not self.query("#find"):
            field = Input(placeholder="words of what a key does, or a key", id="find", compact=True)
            await self.mount(field, before=self._scroll_target)
        self.set_focus(self.query_one("#find", Input))

    async def action_close(self) -> None:
        if not self.query("#find"):
            self.dismiss(None)
            return
        await self.query("#find").remove()
        self.query_one(KeyHelp).query_text = ""
        self.set_focus(self._scroll_target)

    def on_input_changed(self, event: Input.Changed) -> None:
        self.query_one(KeyHelp).query_text = event.value
        self._scroll_target.scroll_home(animate=False)

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self.set_focus(self._scroll_target)
        else:
            await self.action_close()
