"""Actions of the list of plugins and of the settings."""

from typing import Final

from mg_tui.tui.actions.action import Action

HEADINGS: Final = {"plugins": "Plugins", "settings": "Settings"}

ACTIONS: Final = (
    Action(
        "plugins.text",
        ("y",),
        "As text",
        "Show what is said of the plugin as text, to be selected or copied.",
        "plugins",
        "Plugins",
        "as text",
        3,
    ),
    Action(
        "plugins.detail", ("enter",), "Read on", "Scroll what is said of the plugin.", "plugins", "Plugins", "read", 2
    ),
    Action(
        "plugins.back",
        ("escape",),
        "Back to the list",
        "Choose another plugin.",
        "plugins",
        "Plugins",
        in_palette=False,
    ),
    Action("settings.back", ("escape",), "Back", "Go back to where you were.", "settings", "Settings", "back", 1),
    Action(
        "settings.file",
        ("y",),
        "The file",
        "Show which files the settings come from.",
        "settings",
        "Settings",
        "file",
        3,
    ),
)
