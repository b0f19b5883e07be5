"""Actions of the list of jobs, and of the form of one."""

from typing import Final

from mg_tui.tui.actions.action import Action

HEADINGS: Final = {"jobs": "Jobs", "jobform": "Merge, export, verify or push"}


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
    return Action(f"jobs.{name}", keys, title, help, "jobs", HEADINGS["jobs"], label, rank, destructive, in_palette)


def _of_form(name: str, keys: tuple[str, ...], title: str, help: str, label: str = "", rank: int = 5) -> Action:
    return Action(f"jobform.{name}", keys, title, help, "jobform", HEADINGS["jobform"], label, rank)


ACTIONS: Final = (
    # --- the list
    _listed("open", ("enter",), "The result", "Show the whole result: paths and figures.", "result", 3),
    _listed(
        "stop",
        ("s",),
        "Stop the job",
        "Stop the selected job; what it wrote in part is removed.",
        "stop",
        2,
        destructive=True,
    ),
    _listed("log", ("l",), "Log", "Show the end of what the job's process printed.", "log", 4),
    _listed(
        "remove",
        ("x", "delete"),
        "Delete the job",
        "Delete the record of the selected job; what it wrote or pushed stays.",
        "delete",
        5,
        destructive=True,
    ),
    _listed("back", ("escape",), "Back", "Go back; jobs continue.", "back", 1, in_palette=False),
    # --- the form
    _of_form("start", ("r",), "Start", "Check model and output folder, start the job and show the jobs.", "start", 1),
    _of_form("advanced", ("a",), "All options", "Unfold every group, or fold them.", "all", 3),
    _of_form("command", ("y",), "The command", "Show the command that does the same.", "command", 4),
    _of_form("back", ("escape",), "Back", "Start nothing.", "back", 2),
)
