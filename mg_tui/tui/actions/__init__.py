"""Every action of the dashboard, once.

Key bindings, the line of keys at the bottom, the help screen, the command palette and the documentation's table are
made from `ACTIONS`, which is what the modules of this package declare: one module a place, each with its `ACTIONS` and
with `HEADINGS`, the names of what carries them out. An action is carried out by the method `action_<name>` of what its
`where` names; a test holds every action to having one, a help text and a line in the documentation.
"""

from collections.abc import Iterable
from typing import Final

from textual.binding import Binding

from mg_tui.tui.actions import chart, datasets, general, models, navigation, new, picker, plugins, run, runs, views
from mg_tui.tui.actions.action import Action, format_key, format_keys

__all__ = [
    "ACTIONS",
    "ACTIONS_BY_ID",
    "SCOPE_TITLES",
    "Action",
    "actions_in",
    "bindings",
    "format_key",
    "format_keys",
    "group_actions",
    "markdown_table",
]

# In the order in which help, documentation and the line of keys have them.
_MODULES: Final = (
    runs,
    run,
    chart,
    views,
    datasets,
    models,
    picker,
    new,
    plugins,
    navigation,
    general,
)

SCOPE_TITLES: Final[dict[str, str]] = {where: name for module in _MODULES for where, name in module.HEADINGS.items()}
ACTIONS: Final[tuple[Action, ...]] = tuple(action for module in _MODULES for action in module.ACTIONS)
ACTIONS_BY_ID: Final = {action.id: action for action in ACTIONS}


def bindings(*places: str) -> list[Binding]:
    """The bindings of what carries out the actions of `places`."""
    return [
        Binding(
            ",".join(action.keys),
            action.name,
            action.title,
            show=bool(action.footer_label),
            key_display=format_key(action.keys[0]),
            id=action.id,
            tooltip=action.help,
        )
        for action in actions_in(*places)
    ]


def actions_in(*places: str) -> list[Action]:
    """The actions carried out by `places`, in order."""
    return [action for action in ACTIONS if action.scope in places]


def group_actions(actions: Iterable[Action]) -> dict[str, list[Action]]:
    """Actions by their heading, in order; the same key and title twice (a list and a text) is shown once."""
    groups: dict[str, list[Action]] = {}
    seen: set[tuple[str, ...]] = set()
    for action in actions:
        sign = (action.group, *action.keys)
        if sign not in seen:
            seen.add(sign)
            groups.setdefault(action.group, []).append(action)
    return groups


def markdown_table() -> str:
    """Every action as a Markdown table, for the documentation."""
    lines = ["| Where | Key | Action | What it does |", "|---|---|---|---|"]
    for action in ACTIONS:
        keys = " ".join(f"`{format_key(key)}`" for key in action.keys)
        asks = " Asks first." if action.destructive else ""
        lines.append(f"| {SCOPE_TITLES[action.scope]} | {keys} | {action.title} | {action.help}{asks} |")
    return "\n".join(lines) + "\n"
