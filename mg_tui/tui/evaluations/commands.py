"""What a person does to evaluations from the dashboard; whatever touches a disk or a process is for a thread."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from mg_tui.tui.evaluations.listing import EvaluationItem
from mg_tui.tui.terminal import is_over_ssh

REPORT_NAME: Final = "report.html"


class EvaluationCommands:
    """Commands on evaluations, confirmed where needed."""

    def __init__(
        self,
        confirm: Callable[[str, str, str, Callable[[], None]], None],
        run: Callable[[str, Callable[[], str]], None],
    ) -> None:
        """`confirm`: as of `RunCommands`. `run`: runs a job in a thread and notifies its result under a title."""
        self._confirm, self.run = confirm, run

    def stop(self, item: EvaluationItem) -> None:
        """Ask whether to stop an evaluation."""

        def job() -> str:
            from mg_tui.runs import operations
            from mg_tui.runs.control import requester

            asked = operations.request_stop(item.folder, requester("dashboard"), patience=0.0)
            return "asked to end at once" if asked.request == "stop_now" else "asked to stop; answers are kept"

        progress = f"{item.answered} of {item.total} answers are done. " if item.total else ""
        detail = f"{progress}Answers are kept; resumed, it answers only the others."
        self._confirm(f"Stop the evaluation of {item.title}?", detail, "Stop", lambda: self.run(item.title, job))

    def resume(self, item: EvaluationItem) -> None:
        """Ask whether to resume an evaluation."""

        def job() -> str:
            from mg_tui.runs.evaluations import resume_evaluation

            resume_evaluation(item.folder)
            return "resumed"

        detail = "Rows that have an answer are not answered again."
        self._confirm(f"Resume the evaluation of {item.title}?", detail, "Resume", lambda: self.run(item.title, job))

    def remove(self, item: EvaluationItem) -> None:
        """Ask whether to delete an evaluation."""

        def job() -> str:
            from mg_tui.runs.remove import remove_run

            remove_run(item.folder, permanently=True)
            return "deleted"

        detail = f"{item.id} with its answers and scores. They cannot be restored."
        self._confirm(f"Delete the evaluation of {item.title}?", detail, "Delete", lambda: self.run(item.title, job))


def open_in_browser(path: Path) -> bool:
    """Open a file in a browser with a window; returns whether one was started.

    Never in the terminal, which is taken, and not over SSH, where nobody would see it.
    """
    opener = "open" if sys.platform == "darwin" else "xdg-open"
    has_window = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not has_window or is_over_ssh(os.environ):
        return False
    with suppress(OSError):
        nothing = subprocess.DEVNULL
        subprocess.Popen([opener, str(path)], stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
        return True
    return False


def suggest_output(item: EvaluationItem, cwd: Path) -> Path:
    """A file for the marked rows that does not exist yet."""
    dataset = item.dataset.rpartition("/")[2].partition(".")[0]
    stem = "".join(c if c.isalnum() or c in "-_" else "-" for c in dataset).strip("-") or "rows"
    path, number = cwd / f"{stem}-hard.jsonl", 2
    while path.exists():
        path, number = cwd / f"{stem}-hard-{number}.jsonl", number + 1
    return path
