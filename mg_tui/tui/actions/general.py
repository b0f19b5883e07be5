"""Actions of every screen, of texts, and the answers to a question."""

from typing import Final

from mg_tui.tui.actions.action import Action
from mg_tui.tui.places import PLACES

HEADINGS: Final = {
    "confirm": "Confirming",
    "help": "Help and other texts",
    "keys": "Help",
    "plain": "Plain text",
    "app": "Everywhere",
}

ACTIONS: Final = (
    Action("confirm.yes", ("y",), "Yes", "Confirm.", "confirm", "Confirming", in_palette=False),
    Action("confirm.no", ("n", "escape"), "No", "Change nothing.", "confirm", "Confirming", in_palette=False),
    Action(
        "help.close",
        ("escape", "q", "question_mark", "f1"),
        "Close",
        "Close this text.",
        "help",
        "Help and other texts",
        in_palette=False,
    ),
    Action(
        "keys.find",
        ("slash",),
        "Find a key",
        "Show only keys whose name or help has the words typed; a key itself works too.",
        "keys",
        "In the help and other texts",
        in_palette=False,
    ),
    Action(
        "plain.offer",
        ("y",),
        "Copy",
        "Copy to the terminal's clipboard (OSC 52), where the terminal supports it.",
        "plain",
        "Help and other texts",
        in_palette=False,
    ),
    *(
        Action(
            f"app.place('{place.mode}')",
            (place.key,),
            place.title,
            f"Go to {place.description}.",
            "app",
            "Everywhere",
            local_only=place.local_only,
        )
        for place in PLACES
    ),
    Action("app.keys", ("question_mark", "f1"), "Help", "Show all keys.", "app", "Everywhere", "help", 0),
    Action("app.notices", ("exclamation_mark",), "Messages", "Show past messages.", "app", "Everywhere"),
    Action("app.settings", ("f2",), "Settings", "Show all settings and where each is set.", "app", "Everywhere"),
    Action(
        "app.shade", ("ctrl+t",), "Switch theme", "Switch between dark and light, and keep it.", "app", "Everywhere"
    ),
    Action(
        "app.command_palette",
        ("ctrl+p",),
        "Command palette",
        "Find an action, a run, a dataset, a model, a setting or an option by its name.",
        "app",
        "Everywhere",
        in_palette=False,
    ),
    Action(
        "app.detach",
        ("q",),
        "Quit",
        "Quit the dashboard; runs continue in the background.",
        "app",
        "Everywhere",
        "quit",
        0,
    ),
)
