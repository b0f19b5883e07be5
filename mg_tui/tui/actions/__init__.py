"""Every action of the dashboard, once.

Key bindings, the line of keys at the bottom, the help screen, the command palette and the table in the documentation
are made from `ACTIONS`, which the modules of this package declare: each has its `ACTIONS`, and in `HEADINGS` the titles
of its scopes. An action is implemented by the method `action_<name>` of the screen or widget of its scope; a test
checks that every action has one, a help text and a line in the documentation.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from textual.app import App
from textual.binding import Binding

from mg_tui.tui.actions import (
    chart,
    datasets,
    evaluations,
    general,
    jobs,
    models,
    navigation,
    new,
    picker,
    plugins,
    run,
    runs,
    servers,
    views,
)
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
    "is_available",
    "keys_in_use",
    "markdown_table",
]

# In the order of the help, the documentation and the line of keys.
_MODULES: Final = (
    runs,
    run,
    chart,
    views,
    datasets,
    models,
    servers,
    jobs,
    evaluations,
    picker,
    new,
    plugins,
    navigation,
    general,
)

SCOPE_TITLES: Final[dict[str, str]] = {scope: title for module in _MODULES for scope, title in module.HEADINGS.items()}
ACTIONS: Final[tuple[Action, ...]] = tuple(action for module in _MODULES for action in module.ACTIONS)
ACTIONS_BY_ID: Final = {action.id: action for action in ACTIONS}


def bindings(*scopes: str) -> list[Binding]:
    """The bindings of a screen or widget that implements the actions of `scopes`."""
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
        for action in actions_in(*scopes)
    ]


def actions_in(*scopes: str) -> list[Action]:
    """The actions of `scopes`, in order."""
    return [action for action in ACTIONS if action.scope in scopes]


def keys_in_use(app: App[Any], action: Action) -> tuple[str, ...]:
    """The keys of an action: those of `[keys]` (`BaseApp.custom_keys`) when it has any there, else its own."""
    custom: Mapping[str, tuple[str, ...]] = getattr(app, "custom_keys", {})
    return custom.get(action.id, action.keys)


def is_available(app: App[Any], action: Action) -> bool:
    """Whether an action works here: some do not on the runs of a server."""
    return not action.local_only or getattr(app, "elsewhere", None) is None


def group_actions(actions: Iterable[Action]) -> dict[str, list[Action]]:
    """Actions by their heading, in order; the same keys twice under a heading (a list and a text) are listed once."""
    groups: dict[str, list[Action]] = {}
    listed: set[tuple[str, ...]] = set()
    for action in actions:
        key = (action.group, *action.keys)
        if key not in listed:
            listed.add(key)
            groups.setdefault(action.group, []).append(action)
    return groups


def markdown_table() -> str:
    """Every action as a Markdown table, for the documentation."""
    lines = ["| Where | Key | Action | What it does |", "|---|---|---|---|"]
    for action in ACTIONS:
        keys = " ".join(f"`{format_key(key)}`" for key in action.keys).replace("|", r"\|")
        asks = " Asks for confirmation." if action.destructive else ""
        asks += f" Not with `--server`: {action.local_only}" if action.local_only else ""
        lines.append(f"| {SCOPE_TITLES[action.scope]} | {keys} | {action.title} | {action.help}{asks} |")
    return "\n".join(lines) + "\n"
