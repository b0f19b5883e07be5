"""What can be done on the screen of one run."""

from typing import Final

from mg_tui.tui.actions.action import Action

HEADINGS: Final = {"run": "A run"}

ACTIONS: Final = (
    Action(
        "run.stop",
        ("s",),
        "Stop this run",
        "Ask the run to save a checkpoint and stop.",
        "run",
        "A run",
        "stop",
        2,
        destructive=True,
    ),
    Action(
        "run.checkpoint",
        ("c",),
        "Save a checkpoint now",
        "Ask the run to save a checkpoint after the step it is in.",
        "run",
        "A run",
        "checkpoint",
        3,
    ),
    Action("run.log", ("l",), "Log", "Show what the worker prints.", "run", "A run", "log", 4),
    Action(
        "run.notes", ("n",), "Notes", "Show warnings, and what was decided for you and why.", "run", "A run", "notes", 6
    ),
    Action(
        "run.samples",
        ("a",),
        "Answers",
        "Show answers generated while training, beside their pictures.",
        "run",
        "A run",
        "answers",
        6,
    ),
    Action("run.saved", ("p",), "Checkpoints", "Show the checkpoints that are whole.", "run", "A run", "saved", 7),
    Action("run.spec", ("o",), "Options", "Show what was asked of the run.", "run", "A run", "options", 7),
    Action("run.zoom", ("z",), "Zoom", "Give the lower pane the whole screen, and back.", "run", "A run", "zoom", 5),
    Action(
        "run.curve",
        ("m",),
        "Next curve",
        "Draw the next curve: loss, learning rate, gradient norm, memory, tokens a second.",
        "run",
        "A run",
        "curve",
        6,
    ),
    Action("run.curve_back", ("M",), "Previous curve", "Draw the curve before.", "run", "A run", palette=False),
    Action("run.scale", ("y",), "Logarithmic axis", "Draw the curve on a logarithmic axis, and back.", "run", "A run"),
    Action("run.follow", ("f",), "Follow the log", "Keep the newest line in sight, or stop doing so.", "run", "A run"),
    Action("run.back", ("escape",), "Back", "Go back to the list of runs.", "run", "A run", "back", 1),
)
