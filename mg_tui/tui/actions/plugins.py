"""Actions of the list of plugins and of the settings."""

from typing import Final

from mg_tui.tui.actions.action import Action

HEADINGS: Final = {"plugins": "Plugins", "settings": "Settings"}

ACTIONS: Final = (
    Action(
        "plugins.text",
        ("y",),
        "As text",
        "Show the plugin's details as plain text.",
        "plugins",
        "Plugins",
        "as text",
        3,
    ),
    Action(
        "plugins.detail",
        ("enter",),
        "Scroll the details",
        "Scroll the plugin's details.",
        "plugins",
        "Plugins",
        "scroll",
        2,
    ),
    Action(
        "plugins.back",
        ("escape",),
        "Back to the list",
        "Return to the list of plugins.",
        "plugins",
        "Plugins",
        in_palette=False,
    ),
    Action("settings.back", ("escape",), "Back", "Return to the previous screen.", "settings", "Settings", "back", 1),
    Action(
        "settings.file",
        ("y",),
        "Settings files",
        "Show which files the settings come from.",
        "settings",
        "Settings",
        "file",
        3,
    ),
)
