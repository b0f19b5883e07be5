"""Actions of the screen of a run, and of a replay."""

from typing import Final

from mg_tui.tui.actions.action import Action
from mg_tui.tui.places import FILES_ARE_LOCAL, FORM_IS_LOCAL, MODELS_ARE_LOCAL

HEADINGS: Final = {"run": "Run", "saved": "Checkpoints", "replay": "Replay"}


def _action(
    name: str,
    keys: tuple[str, ...],
    title: str,
    help: str,
    label: str = "",
    rank: int = 5,
    *,
    destructive: bool = False,
    local_only: str = "",
) -> Action:
    return Action(f"run.{name}", keys, title, help, "run", "Run", label, rank, destructive, local_only=local_only)


def _replay_action(name: str, keys: tuple[str, ...], title: str, help: str, label: str, rank: int) -> Action:
    return Action(f"replay.{name}", keys, title, help, "replay", "Replay", label, rank)


def _checkpoint_action(
    name: str,
    keys: tuple[str, ...],
    title: str,
    help: str,
    label: str,
    rank: int,
    *,
    destructive: bool = False,
    local_only: str = "",
) -> Action:
    group = "On a checkpoint"
    return Action(f"saved.{name}", keys, title, help, "saved", group, label, rank, destructive, local_only=local_only)


ACTIONS: Final = (
    _checkpoint_action(
        "chat_with",
        ("enter",),
        "Chat with it",
        "Ask the checkpoint about an image.",
        "chat",
        1,
        local_only=MODELS_ARE_LOCAL,
    ),
    _checkpoint_action(
        "resume_from",
        ("r",),
        "Resume from it",
        "Resume the run from this checkpoint; later ones are deleted.",
        "resume from it",
        1,
        destructive=True,
    ),
    _checkpoint_action(
        "evaluate",
        ("b",),
        "Before and after",
        "Show its answers to held-out rows, and those of the base model.",
        "evaluate",
        2,
        local_only=MODELS_ARE_LOCAL,
    ),
    _checkpoint_action(
        "delete_saved",
        ("x", "delete"),
        "Delete the checkpoint",
        "Delete the checkpoint of a run that is not running.",
        "delete",
        3,
        destructive=True,
    ),
    _replay_action("pause", ("space",), "Pause", "Pause or continue the replay.", "pause", 2),
    _replay_action("faster", ("right_curly_bracket",), "Faster", "Play the replay faster.", "faster", 2),
    _replay_action("slower", ("left_curly_bracket",), "Slower", "Play the replay slower.", "slower", 3),
    _replay_action("skip", ("end",), "Skip to the end", "Jump to the end of the run.", "end", 4),
    _replay_action("again", ("home",), "Restart", "Replay from the start.", "start", 4),
    _action(
        "stop",
        ("s",),
        "Stop this run",
        "Save a checkpoint and stop; a second time, stop immediately.",
        "stop",
        2,
        destructive=True,
    ),
    _action("resume", ("r",), "Resume this run", "Continue from the latest checkpoint.", "resume", 2, destructive=True),
    _action(
        "checkpoint",
        ("c",),
        "Save a checkpoint now",
        "Save a checkpoint after the current step.",
        "checkpoint",
        3,
    ),
    _action(
        "rerun",
        ("R",),
        "Run again",
        "Open the form of a new run with these options.",
        "again",
        6,
        local_only=FORM_IS_LOCAL,
    ),
    _action("replay", ("v",), "Replay", "Replay the run's journal at any speed.", "replay", 6),
    _action(
        "chat",
        ("C",),
        "Chat with the result",
        "Ask the model that the run made.",
        "chat",
        3,
        local_only=MODELS_ARE_LOCAL,
    ),
    _action(
        "keep_machine",
        ("K",),
        "Keep the machine",
        "Cancel what happens when the run is done (when_done).",
        local_only="do it on the machine of the run.",
    ),
    _action("rename", ("T",), "Rename the run", "Give the run another name; its id stays."),
    _action("note", ("N",), "Note", "Write a note on the run."),
    _action("tags", ("t",), "Tags", "Change the tags of the run."),
    _action("log", ("l",), "Log", "Show the worker's output.", "log", 4),
    _action("search", ("slash",), "Filter the log", "Show log lines that contain the words.", "filter", 7),
    _action("notes", ("n",), "Notes", "Show warnings, and options chosen automatically with the reason.", "notes", 6),
    _action("samples", ("a",), "Answers", "Show answers generated while training, beside their images.", "answers", 6),
    _action("sample_back", ("comma",), "Previous answers", "Show the answers of the previous step."),
    _action("sample_next", ("full_stop",), "Next answers", "Show the answers of the next step."),
    _action("image", ("i",), "Image", "Show the images of the answers full screen.", local_only=FILES_ARE_LOCAL),
    _action("saved", ("p",), "Checkpoints", "List the checkpoints.", "checkpoints", 7),
    _action("spec", ("o",), "Options", "Show the run's options.", "options", 7),
    _action("zoom", ("z",), "Zoom the pane", "Show the lower pane full screen, or not.", "zoom", 5),
    _action("follow", ("f",), "Follow the log", "Toggle following the newest line."),
    _action("place", ("w",), "Show the path", "Show the path of the result, or of the run's folder.", "path", 8),
    _action("devices", ("d",), "Devices", "Show every GPU with its load, memory and processes."),
    _action(
        "evaluations",
        ("e",),
        "Evaluations",
        "Show the evaluations of the run and its checkpoints.",
        "evals",
        6,
        local_only="evaluations are on the server; its API lists them.",
    ),
    _action(
        "evaluate",
        ("E",),
        "Evaluate",
        "Evaluate the result or a checkpoint on a dataset.",
        "evaluate",
        7,
        local_only=MODELS_ARE_LOCAL,
    ),
    _action("back", ("escape",), "Back", "Go back to the list of runs.", "back", 1),
)
