"""Actions of the list of runs."""

from typing import Final

from mg_tui.tui.actions.action import Action
from mg_tui.tui.places import FORM_IS_LOCAL

HEADINGS: Final = {"runs": "Runs"}


def _action(
    name: str,
    keys: tuple[str, ...],
    title: str,
    help: str,
    label: str = "",
    rank: int = 5,
    *,
    destructive: bool = False,
    in_palette: bool = True,
    local_only: str = "",
) -> Action:
    return Action(f"runs.{name}", keys, title, help, "runs", "Runs", label, rank, destructive, in_palette, local_only)


ACTIONS: Final = (
    _action("open", ("enter",), "Open the run", "Open the selected run.", "open", 1),
    _action(
        "stop",
        ("s",),
        "Stop the run",
        "Save a checkpoint and stop; a queued run leaves the queue.",
        "stop",
        2,
        destructive=True,
    ),
    _action("resume", ("r",), "Resume the run", "Continue from the latest checkpoint.", "resume", 3, destructive=True),
    _action(
        "rerun",
        ("R",),
        "Run again",
        "Open the form of a new run with these options.",
        "again",
        7,
        local_only=FORM_IS_LOCAL,
    ),
    _action("replay", ("v",), "Replay the run", "Replay the run's journal at any speed.", "replay", 6),
    _action("hold", ("h",), "Hold or release", "Keep a queued run from starting, or release it.", "hold", 4),
    _action("earlier", ("K",), "Earlier in the queue", "Move a queued run towards the front.", "earlier", 6),
    _action("later", ("J",), "Later in the queue", "Move a queued run towards the end.", "later", 6),
    _action("mark", ("space",), "Mark the run", "Mark or unmark the selected run.", "mark", 6),
    _action("compare", ("c",), "Compare marked runs", "Show the curves of the marked runs on one chart.", "compare", 2),
    _action(
        "filter",
        ("slash",),
        "Filter the runs",
        "Show runs whose name, id, state or model contains the words.",
        "filter",
        3,
    ),
    _action("filters", ("f",), "Saved filters", "Filter by words that were saved under a name.", "filters", 9),
    _action(
        "save_filter",
        ("F",),
        "Save the filter",
        "Save the current filter under a name; remove a saved one.",
        "save",
        4,
    ),
    _action("rename", ("T",), "Rename the run", "Give the run another name; its id stays.", "rename", 9),
    _action("note", ("N",), "Note", "Write a note on the run.", "note", 9),
    _action("tags", ("t",), "Tags", "Change the tags of the run, or of the marked ones.", "tags", 9),
    _action("columns", ("vertical_line",), "Columns", "Choose the columns of the list."),
    _action("sort", ("o",), "Change the sort order", "Cycle through time, state, name and loss.", "sort", 6),
    _action("reverse", ("O",), "Reverse the sort order", "Sort in the opposite direction."),
    _action("place", ("w",), "Show the path", "Show the path of the result, or of the run's folder.", "path", 8),
    _action("devices", ("d",), "Devices", "Show every GPU with its load, memory and processes.", "devices", 7),
    _action(
        "remove",
        ("x", "delete"),
        "Remove the run",
        "Move the run, or the marked ones, to the trash.",
        "remove",
        8,
        destructive=True,
    ),
    _action("restore", ("u",), "Restore a run", "Restore the last removed run; runs stay in the trash for 14 days."),
    _action("clear", ("escape",), "Show all", "Clear the filter, then the marks.", "show all", 3, in_palette=False),
)
