"""Actions of evaluations: of their list, of one, of the form of a new one, and before marked rows are written."""

from typing import Final

from mg_tui.tui.actions.action import Action

HEADINGS: Final = {
    "evaluations": "Evaluations",
    "result": "An evaluation",
    "evaluate": "New evaluation",
    "hard": "Before rows are written",
}


def _listed(
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
    heading = HEADINGS["evaluations"]
    return Action(
        f"evaluations.{name}", keys, title, help, "evaluations", heading, label, rank, destructive, in_palette
    )


def _of_one(
    name: str,
    keys: tuple[str, ...],
    title: str,
    help: str,
    label: str = "",
    rank: int = 5,
    *,
    destructive: bool = False,
) -> Action:
    return Action(f"result.{name}", keys, title, help, "result", HEADINGS["result"], label, rank, destructive)


def _of_form(name: str, keys: tuple[str, ...], title: str, help: str, label: str = "", rank: int = 5) -> Action:
    return Action(f"evaluate.{name}", keys, title, help, "evaluate", HEADINGS["evaluate"], label, rank)


ACTIONS: Final = (
    # --- the list
    _listed("open", ("enter",), "Open the evaluation", "Show its scores and its rows.", "open", 2),
    _listed("new", ("n",), "New evaluation", "Evaluate this run or model on a dataset.", "new", 2),
    _listed(
        "stop",
        ("s",),
        "Stop the evaluation",
        "Ask the selected evaluation to stop; its answers are kept.",
        "stop",
        3,
        destructive=True,
    ),
    _listed(
        "resume",
        ("r",),
        "Resume the evaluation",
        "Continue where it ended; rows that have an answer are not answered again.",
        "resume",
        3,
        destructive=True,
    ),
    _listed("again", ("R",), "Evaluate again", "Open the form of a new evaluation with these options.", "again", 6),
    _listed(
        "every",
        ("a",),
        "Every evaluation",
        "Show the evaluations of all models, or only those of this one.",
        "all / these",
        5,
    ),
    _listed(
        "filter",
        ("slash",),
        "Filter the evaluations",
        "Show only those whose model, dataset, id or state has the words typed.",
        "filter",
        5,
    ),
    _listed(
        "remove",
        ("x", "delete"),
        "Delete the evaluation",
        "Delete the selected evaluation with its answers.",
        "delete",
        7,
        destructive=True,
    ),
    _listed("back", ("escape",), "Back", "Take the filter away; without one, go back.", "back", 1, in_palette=False),
    # --- one evaluation
    _of_one("scores", ("t",), "Scores", "Show every metric with its interval and its change."),
    _of_one("groups", ("b",), "Groups", "Show scores by columns of the dataset, the worst first."),
    _of_one("rows", ("a",), "Rows", "Show the rows with their answers."),
    _of_one(
        "open",
        ("enter",),
        "Chat, or its rows",
        "Open a chat with the row's image and question; of a group, show its rows.",
        "open",
        3,
    ),
    _of_one(
        "only",
        ("f",),
        "Only some rows",
        "Show all rows, only wrong, changed, broken, fixed, not answered or marked ones.",
        "only …",
        2,
    ),
    _of_one(
        "filter",
        ("slash",),
        "Search the rows",
        "Show only rows whose question, references, answers or columns have the words typed.",
        "search",
        6,
    ),
    _of_one("order", ("o",), "Order", "Show the worst rows first, or all as in the dataset.", "order", 6),
    _of_one("metric", ("m",), "Next metric", "Judge rows by the next metric.", "metric", 7),
    _of_one("mark", ("space",), "Mark the row", "Mark the row, or take its mark away.", "mark", 3),
    _of_one("mark_all", ("M",), "Mark all shown", "Mark every row that is shown, or take these marks away."),
    _of_one(
        "write",
        ("w",),
        "Write the marked rows",
        "Write the marked rows to a new dataset, with all their columns.",
        "write marked",
        2,
    ),
    _of_one(
        "copy",
        ("c",),
        "Copy the row",
        "Offer question, references and answers of the row to the terminal's clipboard (OSC 52).",
        "copy",
        6,
    ),
    _of_one("image", ("i",), "Image", "Show the row's image as large as the screen.", "image", 8),
    _of_one("report", ("h",), "HTML report", "Write a report to send to somebody, and open it.", "report", 5),
    _of_one(
        "stop",
        ("s",),
        "Stop the evaluation",
        "Ask it to stop; its answers are kept.",
        "stop",
        2,
        destructive=True,
    ),
    _of_one(
        "resume",
        ("r",),
        "Resume the evaluation",
        "Continue where it ended; rows that have an answer are not answered again.",
        "resume",
        2,
        destructive=True,
    ),
    _of_one("log", ("l",), "Log", "Show the end of what the evaluation's process printed.", "log", 8),
    _of_one("place", ("y",), "Where it is", "Show the folder of the evaluation, to copy it."),
    _of_one("back", ("escape",), "Back", "Show all rows again; when all are shown, go back.", "back", 1),
    # --- the form of a new one
    _of_form("start", ("r",), "Start the evaluation", "Check model and data, start it and open it.", "start", 1),
    _of_form("advanced", ("a",), "All options", "Unfold every group, or fold them.", "all", 3),
    _of_form("command", ("y",), "The command", "Show the command that does the same.", "command", 4),
    _of_form("back", ("escape",), "Back", "Start nothing.", "back", 2),
    # --- before marked rows are written
    Action(
        "hard.close",
        ("escape",),
        "Cancel",
        "Write nothing.",
        "hard",
        HEADINGS["hard"],
        "cancel",
        in_palette=False,
    ),
)
