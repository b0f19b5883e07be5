"""Actions of the file picker."""

from typing import Final

from mg_tui.tui.actions.action import Action

HEADINGS: Final = {"pick": "Choosing a file"}

ACTIONS: Final = (
    Action(
        "pick.complete",
        ("tab",),
        "Complete",
        "Complete the path with the selected entry.",
        "pick",
        "Picking a file",
        "complete",
        2,
        in_palette=False,
    ),
    Action("pick.down", ("down",), "Next", "Move to the next entry.", "pick", "Picking a file", in_palette=False),
    Action("pick.up", ("up",), "Previous", "Move to the previous entry.", "pick", "Picking a file", in_palette=False),
    Action(
        "pick.page_down", ("pagedown",), "Page down", "Move down a page.", "pick", "Picking a file", in_palette=False
    ),
    Action("pick.page_up", ("pageup",), "Page up", "Move up a page.", "pick", "Picking a file", in_palette=False),
    Action(
        "pick.close",
        ("escape",),
        "Close",
        "Choose nothing.",
        "pick",
        "Picking a file",
        "close",
        1,
        in_palette=False,
    ),
)
