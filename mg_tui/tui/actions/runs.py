"""What can be done in the list of runs."""

from typing import Final

from mg_tui.tui.actions.action import Action

HEADINGS: Final = {"runs": "Runs"}

ACTIONS: Final = (
    Action("runs.open", ("enter",), "Open the run", "Open the selected run.", "runs", "Runs", "open", 1),
    Action(
        "runs.stop",
        ("s",),
        "Stop the run",
        "Ask the selected run to save a checkpoint and stop.",
        "runs",
        "Runs",
        "stop",
        2,
        destructive=True,
    ),
    Action(
        "runs.filter",
        ("slash",),
        "Filter the runs",
        "Show only runs whose name, id, state or model has the words typed.",
        "runs",
        "Runs",
        "filter",
        3,
    ),
    Action(
        "runs.clear",
        ("escape",),
        "Clear the filter",
        "Show every run again.",
        "runs",
        "Runs",
        "show all",
        3,
        palette=False,
    ),
)
