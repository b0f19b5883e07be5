"""Every action of the dashboard, once.

Key bindings, the line of keys at the bottom, the help screen, the command palette and the documentation's table are
made from `ACTIONS`. An action is carried out by the method `action_<name>` of what its place names; a test holds every
action to having one, a help text and a line in the documentation.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from textual.binding import Binding

Where = Literal["app", "runs", "run", "list", "log", "confirm", "help"]

PLACES: Final[dict[Where, str]] = {
    "app": "Everywhere",
    "runs": "Runs",
    "run": "A run",
    "list": "In lists",
    "log": "In text",
    "confirm": "When asked",
    "help": "In the help",
}


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a person can do.

    Attributes:
        id: `<where>.<name>`; what a keymap names.
        keys: the keys, Textual's names, the one to show first.
        title: a few words, for the palette and the help.
        help: one sentence.
        where: what carries it out.
        group: heading in the help.
        label: a word for the line of keys; empty when it is not shown there.
        rank: what goes first from the line of keys when it is too long (high goes first).
        destructive: whether it asks before it does anything.
        palette: whether the command palette offers it.
    """

    id: str
    keys: tuple[str, ...]
    title: str
    help: str
    where: Where
    group: str
    label: str = ""
    rank: int = 5
    destructive: bool = False
    palette: bool = True

    @property
    def name(self) -> str:
        """The part of the id after the place."""
        return self.id.partition(".")[2]

    @property
    def call(self) -> str:
        """The action as Textual calls it."""
        return f"app.{self.name}" if self.where == "app" else self.name


ACTIONS: Final[tuple[Action, ...]] = (
    # --- the list of runs
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
    # --- one run
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
    # --- lists and text
    Action("list.down", ("j", "down"), "Next", "Move to the next one.", "list", "Moving", palette=False),
    Action("list.up", ("k", "up"), "Previous", "Move to the one before.", "list", "Moving", palette=False),
    Action("list.top", ("g", "home"), "First", "Move to the first one.", "list", "Moving", palette=False),
    Action("list.bottom", ("G", "end"), "Last", "Move to the last one.", "list", "Moving", palette=False),
    Action(
        "list.page_down", ("pagedown", "ctrl+d"), "Page down", "Move on by a page.", "list", "Moving", palette=False
    ),
    Action("list.page_up", ("pageup", "ctrl+u"), "Page up", "Move back by a page.", "list", "Moving", palette=False),
    Action("log.scroll_down", ("j", "down"), "Down", "Scroll down a line.", "log", "Moving", palette=False),
    Action("log.scroll_up", ("k", "up"), "Up", "Scroll up a line.", "log", "Moving", palette=False),
    Action("log.scroll_home", ("g", "home"), "Top", "Scroll to the first line.", "log", "Moving", palette=False),
    Action("log.scroll_end", ("G", "end"), "End", "Scroll to the last line.", "log", "Moving", palette=False),
    Action("log.page_down", ("pagedown", "ctrl+d"), "Page down", "Scroll down a page.", "log", "Moving", palette=False),
    Action("log.page_up", ("pageup", "ctrl+u"), "Page up", "Scroll up a page.", "log", "Moving", palette=False),
    # --- answering a question
    Action("confirm.yes", ("y",), "Yes", "Do it.", "confirm", "When asked", palette=False),
    Action("confirm.no", ("n", "escape"), "No", "Leave everything as it is.", "confirm", "When asked", palette=False),
    Action(
        "help.close",
        ("escape", "q", "question_mark", "f1"),
        "Close the help",
        "Go back to the screen.",
        "help",
        "In the help",
        palette=False,
    ),
    # --- everywhere
    Action("app.place('runs')", ("1",), "Runs", "Go to the list of runs.", "app", "Everywhere"),
    Action("app.keys", ("question_mark", "f1"), "Help", "Show every key.", "app", "Everywhere", "help", 0),
    Action(
        "app.shade", ("ctrl+t",), "Light or dark", "Change between the light and the dark theme.", "app", "Everywhere"
    ),
    Action(
        "app.command_palette",
        ("ctrl+p",),
        "Command palette",
        "Find an action by its name.",
        "app",
        "Everywhere",
        palette=False,
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

BY_ID: Final = {action.id: action for action in ACTIONS}

_KEY_NAMES: Final = {
    "question_mark": "?",
    "slash": "/",
    "escape": "esc",
    "pagedown": "pgdn",
    "pageup": "pgup",
    "down": "↓",
    "up": "↑",
    "f1": "F1",
}


def bindings(*places: Where) -> list[Binding]:
    """The bindings of what carries out the actions of `places`."""
    return [
        Binding(
            ",".join(action.keys),
            action.name,
            action.title,
            show=bool(action.label),
            key_display=key_name(action.keys[0]),
            id=action.id,
            tooltip=action.help,
        )
        for action in actions_of(*places)
    ]


def actions_of(*places: Where) -> list[Action]:
    """The actions carried out by `places`, in order."""
    return [action for action in ACTIONS if action.where in places]


def key_name(key: str) -> str:
    """A key as it is written for people: `ctrl+p` stays, `question_mark` is `?`."""
    return _KEY_NAMES.get(key, key)


def key_names(action: Action) -> str:
    """All keys of an action for people."""
    return " ".join(key_name(key) for key in action.keys)


def grouped(actions: Iterable[Action]) -> dict[str, list[Action]]:
    """Actions by their heading, in order; the same key and title twice (a list and a text) is shown once."""
    groups: dict[str, list[Action]] = {}
    seen: set[tuple[str, ...]] = set()
    for action in actions:
        sign = (action.group, *action.keys)
        if sign not in seen:
            seen.add(sign)
            groups.setdefault(action.group, []).append(action)
    return groups


def docs_table() -> str:
    """Every action as a Markdown table, for the documentation."""
    lines = ["| Where | Key | Action | What it does |", "|---|---|---|---|"]
    for action in ACTIONS:
        keys = " ".join(f"`{key_name(key)}`" for key in action.keys)
        asks = " Asks first." if action.destructive else ""
        lines.append(f"| {PLACES[action.where]} | {keys} | {action.title} | {action.help}{asks} |")
    return "\n".join(lines) + "\n"
