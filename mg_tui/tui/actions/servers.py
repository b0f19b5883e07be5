"""Actions of the list of servers."""

from typing import Final

from mg_tui.tui.actions.action import Action

HEADINGS: Final = {"servers": "Servers"}
_HEADING: Final = HEADINGS["servers"]

ACTIONS: Final = (
    Action(
        "servers.stop",
        ("x",),
        "Stop the server",
        "Stop the selected server; requests under way are cut off.",
        "servers",
        _HEADING,
        "stop",
        1,
        destructive=True,
    ),
    Action("servers.back", ("escape",), "Back", "Go back; servers keep running.", "servers", _HEADING, "back", 2),
)
