"""What can be done in the form of a new run, in its fields, and in the lists and questions it opens."""

from typing import Final

from mg_tui.tui.actions.action import Action

HEADINGS: Final = {
    "new": "New run",
    "form": "In forms",
    "field": "In a field",
    "choose": "When choosing",
    "check": "While checking",
}

ACTIONS: Final = (
    # --- the form of a new run
    Action(
        "new.start",
        ("r",),
        "Start the run",
        "Check model and data, start the run and open it.",
        "new",
        "New run",
        "start",
        1,
    ),
    Action(
        "new.queue",
        ("u",),
        "Queue the run",
        "Check model and data, and let the run start when the devices asked for are free.",
        "new",
        "New run",
        "queue",
        4,
    ),
    Action(
        "new.sample",
        ("m",),
        "Make a sample dataset",
        "Draw twenty pictures with questions and answers, and train on those.",
        "new",
        "New run",
        "sample data",
        2,
    ),
    Action(
        "new.presets",
        ("p",),
        "Presets",
        "Take a set of values that go together, one of yours or a built-in one.",
        "new",
        "New run",
        "presets",
        3,
    ),
    Action(
        "new.save",
        ("P",),
        "Save as a preset",
        "Keep what differs from the defaults under a name, in your garden.toml.",
        "new",
        "New run",
    ),
    Action(
        "new.forget",
        ("D",),
        "Remove a preset",
        "Take one of your presets out of your garden.toml.",
        "new",
        "New run",
        destructive=True,
    ),
    Action("new.advanced", ("a",), "All options", "Unfold every group, or fold them.", "new", "New run", "all", 4),
    Action(
        "new.differ",
        ("d",),
        "What differs",
        "Show only what differs from the defaults, or everything again.",
        "new",
        "New run",
        "changed",
        6,
    ),
    Action(
        "new.find", ("slash",), "Find an option", "Show only options with the words typed.", "new", "New run", "find", 5
    ),
    Action(
        "new.clear",
        ("escape",),
        "Show the form",
        "Show every option again.",
        "new",
        "New run",
        "whole form",
        2,
        palette=False,
    ),
    Action(
        "new.command",
        ("y",),
        "The command",
        "Show the command that asks for the same run, to be selected or copied.",
        "new",
        "New run",
        "command",
        5,
    ),
    Action(
        "new.memory",
        ("e",),
        "Memory in full",
        "Show what needs memory and why, where it fits, and what would make it fit.",
        "new",
        "New run",
        "memory",
        6,
    ),
    Action(
        "new.anew",
        ("X",),
        "Empty the form",
        "Give every option its default again.",
        "new",
        "New run",
        destructive=True,
    ),
    # --- any form
    Action(
        "form.change",
        ("enter",),
        "Change",
        "Type another value, choose one, switch, or unfold the group.",
        "form",
        "In forms",
        "change",
        0,
        palette=False,
    ),
    Action("form.switch", ("space",), "Switch", "Switch on or off, or unfold.", "form", "In forms", palette=False),
    Action("form.later", ("right", "l"), "Next choice", "Take the next choice.", "form", "In forms", palette=False),
    Action(
        "form.earlier", ("left", "h"), "Choice before", "Take the choice before.", "form", "In forms", palette=False
    ),
    Action(
        "form.reset",
        ("x", "delete"),
        "Default",
        "Give the option its default again.",
        "form",
        "In forms",
        "default",
        6,
        palette=False,
    ),
    # --- the field being typed in
    Action(
        "field.take", ("enter",), "Take it", "Take what was typed.", "field", "In a field", "take it", 1, palette=False
    ),
    Action(
        "field.leave",
        ("escape",),
        "Leave it",
        "Leave it as it was.",
        "field",
        "In a field",
        "leave it",
        2,
        palette=False,
    ),
    Action(
        "field.complete",
        ("tab",),
        "Complete",
        "Complete a path; elsewhere, take what was typed and go on to the next option.",
        "field",
        "In a field",
        "complete / next",
        3,
        palette=False,
    ),
    Action(
        "field.down",
        ("down",),
        "Next",
        "The next completion, or the next option.",
        "field",
        "In a field",
        palette=False,
    ),
    Action("field.up", ("up",), "Before", "The completion or the option before.", "field", "In a field", palette=False),
    # --- lists to choose from
    Action(
        "choose.take", ("enter",), "Take", "Take what is selected.", "choose", "When choosing", "take", 1, palette=False
    ),
    Action(
        "choose.mark", ("space",), "Mark", "Mark, where several can be taken.", "choose", "When choosing", palette=False
    ),
    Action("choose.close", ("escape",), "Close", "Take nothing.", "choose", "When choosing", "close", 2, palette=False),
    # --- the check before a start
    Action(
        "check.close",
        ("escape",),
        "Cancel or close",
        "End the check; nothing is started.",
        "check",
        "While checking",
        palette=False,
    ),
)
