"""Actions of the file picker."""

from typing import Final

from mg_tui.tui.actions.action import Action

HEADINGS: Final = {"pick": "When picking a file"}

ACTIONS: Final = (
    Action(
        "pick.complete",
        ("tab",),
        "Complete",
        "Complete the path to what is selected.",
        "pick",
        "Picking a file",
        "complete",
        2,
        in_palette=False,
    ),
    Action("pick.down", ("down",), "Next", "Move to the next entry.", "pick", "Picking a file", in_palette=False),
    Action("pick.up", ("up",), "Previous", "Move to the entry before.", "pick", "Picking a file", in_palette=False),
    Action(
        "pick.page_down", ("pagedown",), "Page down", "Move on by a page.", "pick", "Picking a file", in_palette=False
    ),
    Action("pick.page_up", ("pageup",), "Page up", "Move back by a page.", "pick", "Picking a file", in_palette=False),
    Action("pick.close", ("escape",), "Close", "Pick nothing.", "pick", "Picking a file", "close", 1, in_palette=False),
)
