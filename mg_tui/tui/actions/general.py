"""Actions of every screen, of texts, and the answers to a question."""

from typing import Final

from mg_tui.tui.actions.action import Action
from mg_tui.tui.places import PLACES

HEADINGS: Final = {
    "confirm": "When asked",
    "help": "In the help and other texts",
    "keys": "In the help",
    "plain": "In a plain text",
    "app": "Everywhere",
}

ACTIONS: Final = (
    Action("confirm.yes", ("y",), "Yes", "Do it.", "confirm", "When asked", in_palette=False),
    Action(
        "confirm.no", ("n", "escape"), "No", "Leave everything as it is.", "confirm", "When asked", in_palette=False
    ),
    Action(
        "help.close",
        ("escape", "q", "question_mark", "f1"),
        "Close",
        "Go back to the screen.",
        "help",
        "In the help and other texts",
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
        "Offer to the clipboard",
        "Send the text to the terminal for its clipboard (OSC 52); whether it takes it, it does not say.",
        "plain",
        "In the help and other texts",
        in_palette=False,
    ),
    *(
        Action(
            f"app.place('{place.mode}')", (place.key,), place.title, f"Go to {place.description}.", "app", "Everywhere"
        )
        for place in PLACES
    ),
    Action("app.keys", ("question_mark", "f1"), "Help", "Show every key.", "app", "Everywhere", "help", 0),
    Action("app.notices", ("exclamation_mark",), "Messages", "Show what was said so far.", "app", "Everywhere"),
    Action("app.settings", ("f2",), "Settings", "Show what can be set, and where it is set.", "app", "Everywhere"),
    Action(
        "app.shade", ("ctrl+t",), "Light or dark", "Change between light and dark; it is kept.", "app", "Everywhere"
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
        "Leave the dashboard; runs go on, and are shown again when it is opened.",
        "app",
        "Everywhere",
        "quit",
        0,
    ),
)
