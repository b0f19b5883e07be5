"""The first and the last line of every screen: the places with the current one, and the keys that apply."""

import time
from collections.abc import Mapping
from typing import Final

from textual.content import Content
from textual.reactive import reactive
from textual.screen import Screen
from textual.widgets import Input

from mg_tui.core.text import one_line
from mg_tui.runs.elsewhere import Elsewhere
from mg_tui.tui.actions import ACTIONS_BY_ID, Action, format_key, is_available, keys_in_use
from mg_tui.tui.places import PLACES
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, fit, justify, line, link

_CONNECTION_SECONDS: Final = 1.0  # between two looks at the connection


class TopBar(Lines):
    """The product, the places with their digits, and on the right a text of the screen.

    Of a dashboard on a server's runs, a second line says how it stands with the connection.
    """

    DEFAULT_CSS = """
    TopBar { dock: top; height: 1; background: $bar; padding: 0 1; }
    TopBar.-server { height: 2; }
    """
    right: reactive[Content] = reactive(Content(), repaint=False)
    breadcrumb: reactive[str] = reactive("", repaint=False)

    def on_mount(self) -> None:
        if self._elsewhere is not None:
            self.add_class("-server")
            self.set_interval(_CONNECTION_SECONDS, self.redraw)

    @property
    def _elsewhere(self) -> Elsewhere | None:
        elsewhere: Elsewhere | None = getattr(self.app, "elsewhere", None)
        return elsewhere

    def watch_right(self) -> None:
        self.redraw()

    def watch_breadcrumb(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        places = [
            line(
                link(f" {place.key} ", f"app.place('{place.mode}')", tone("dim")),
                link(
                    place.title,
                    f"app.place('{place.mode}')",
                    "bold" if place.mode == self.app.current_mode else tone("dim"),
                ),
            )
            for place in PLACES
            if self._elsewhere is None or not place.local_only
        ]
        crumb = line((" › ", tone("faint")), one_line(self.breadcrumb, limit=120)) if self.breadcrumb else Content()
        for name in ("❀ Model Garden", "❀"):  # the places are worth more than the name
            left = line((name, tone("key", "bold")), "  ", *places, crumb)
            if left.cell_length + 2 + self.right.cell_length <= width:
                break
        lines = [justify(left, self.right, width)]
        return lines if self._elsewhere is None else [*lines, _connection_line(self._elsewhere, width)]


def _connection_line(elsewhere: Elsewhere, width: int) -> Content:
    """How it stands with a server, in the tone of a failure while it is not heard of."""
    mark, style = ("⇄", tone("dim")) if elsewhere.connected else ("✗", tone("failed", "bold"))
    return fit(line((f"{mark} ", style), (one_line(elsewhere.describe(time.time())), style)), width)


class KeyBar(Lines):
    """Keys of the actions that apply now, most useful first; what does not fit is left to `?`."""

    DEFAULT_CSS = """
    KeyBar { dock: bottom; height: 1; background: $bar; padding: 0 1; }
    """

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def _changed(self, _screen: Screen[object]) -> None:
        self.redraw()

    def _actions(self) -> list[Action]:
        enabled = {active.binding.id for active in self.screen.active_bindings.values() if active.enabled}
        return [
            action
            for action in ACTIONS_BY_ID.values()
            if action.footer_label and action.id in enabled and is_available(self.app, action)
        ]

    def lines(self, width: int) -> list[Content]:
        actions = self._actions()
        if isinstance(self.screen.focused, Input):  # which takes the letters
            actions = [action for action in actions if len(format_key(self._key(action))) > 1]
        while actions:
            drawn = Content("   ").join(self._draw(action) for action in actions)
            if drawn.cell_length <= width:
                return [drawn]
            actions.remove(max(reversed(actions), key=lambda action: action.footer_rank))
        return [Content()]

    def _label(self, action: Action) -> str:
        labels: Mapping[str, str] = getattr(self.screen, "footer_labels", {})
        return labels.get(action.id, action.footer_label)

    def _key(self, action: Action) -> str:
        """The key to show."""
        return keys_in_use(self.app, action)[0]

    def _draw(self, action: Action) -> Content:
        call = action.textual_action if action.scope == "app" else f"screen.{action.name}"
        return line(
            link(format_key(self._key(action)), call, tone("key", "bold")),
            " ",
            link(self._label(action), call, tone("dim")),
        )
