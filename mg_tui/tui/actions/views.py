"""What can be done where runs are compared, where devices are shown in full, and over a picture."""

from typing import Final

from mg_tui.tui.actions.action import Action

HEADINGS: Final = {"compare": "Comparing", "devices": "Devices", "picture": "A picture"}

ACTIONS: Final = (
    Action("compare.same", ("a",), "Every option", "Show options that are the same too.", "compare", "Comparing"),
    Action("compare.back", ("escape",), "Back", "Go back to the list of runs.", "compare", "Comparing", "back", 1),
    Action("devices.back", ("escape",), "Back", "Go back.", "devices", "Devices", "back", 1, in_palette=False),
    Action(
        "picture.after",
        ("full_stop", "right"),
        "Next picture",
        "Show the next picture.",
        "picture",
        "A picture",
        "next",
    ),
    Action(
        "picture.before", ("comma", "left"), "Picture before", "Show the one before.", "picture", "A picture", "before"
    ),
    Action("picture.back", ("escape", "i"), "Back", "Go back.", "picture", "A picture", "back", 1, in_palette=False),
)
