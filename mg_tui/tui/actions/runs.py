"""Actions of the list of runs."""

from typing import Final

from mg_tui.tui.actions.action import Action

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
) -> Action:
    return Action(f"runs.{name}", keys, title, help, "runs", "Runs", label, rank, destructive, in_palette)


ACTIONS: Final = (
    _action("open", ("enter",), "Open the run", "Open the selected run.", "open", 1),
    _action(
        "stop",
        ("s",),
        "Stop the run",
        "Ask the selected run to save a checkpoint and stop; a queued one leaves the queue.",
        "stop",
        2,
        destructive=True,
    ),
    _action(
        "resume", ("r",), "Resume the run", "Go on from the newest whole checkpoint.", "resume", 3, destructive=True
    ),
    _action("rerun", ("R",), "Run again", "Open the form of a new run with these options.", "again", 7),
    _action("replay", ("v",), "Replay the run", "Play the run's journal as it was, at any speed.", "replay", 6),
    _action("hold", ("h",), "Hold or release", "Keep a queued run from starting, or release it.", "hold", 4),
    _action("earlier", ("K",), "Earlier in the queue", "Move a queued run towards the front.", "earlier", 6),
    _action("later", ("J",), "Later in the queue", "Move a queued run towards the end.", "later", 6),
    _action("mark", ("space",), "Mark the run", "Mark the selected run, or take its mark away.", "mark", 6),
    _action("compare", ("c",), "Compare the marked", "Show the curves of the marked runs on one chart.", "compare", 2),
    _action(
        "filter",
        ("slash",),
        "Filter the runs",
        "Show only runs whose name, id, state or model has the words typed.",
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
    _action("sort", ("o",), "Sort by the next", "Sort by time, state, name or loss, one after the other.", "sort", 6),
    _action("reverse", ("O",), "Turn the order round", "Sort the other way round."),
    _action(
        "place", ("w",), "Where the result is", "Show the path of the result, or of the run, to copy it.", "path", 8
    ),
    _action("devices", ("d",), "Devices", "Show what every GPU is doing, and for whom.", "devices", 7),
    _action(
        "remove",
        ("x", "delete"),
        "Remove the run",
        "Move the run, or the marked ones, to the trash.",
        "remove",
        8,
        destructive=True,
    ),
    _action("restore", ("u",), "Bring a run back", "Bring back the run that was removed last; each for 14 days."),
    _action("clear", ("escape",), "Show all", "Take away the filter, then the marks.", "show all", 3, in_palette=False),
)
