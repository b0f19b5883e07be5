"""What a person does to runs from the dashboard: asked about where it must be, done in a thread, said when done."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from mg_tui.core.errors import GardenError
from mg_tui.runs.state import RunState
from mg_tui.tui import formatting

if TYPE_CHECKING:
    from mg_tui.runs.resume import ResumeTarget
    from mg_tui.tui.app import GardenApp
    from mg_tui.tui.runs.snapshot import RunRow

# What can be gone on with, and what can be removed.
RESUMABLE_STATES: Final = (RunState.STOPPED, RunState.FAILED, RunState.CRASHED, RunState.INTERRUPTED, RunState.CREATED)
REMOVABLE_STATES: Final = (*RESUMABLE_STATES, RunState.FINISHED)


class RunCommands:
    """Questions and deeds; everything that touches a disk or a process is done away from the interface's thread."""

    def __init__(self, app: "GardenApp") -> None:
        self._app = app

    # --- running and queued runs

    def stop(self, row: "RunRow", *, stopping: bool = False) -> None:
        """Ask whether a run is to stop or to leave the queue, and have it done if so."""
        if row.state is RunState.QUEUED:
            detail, yes = "It is taken out of the queue; it can be resumed or removed later.", "Yes, take it out"
            self._confirm(f"Take {row.title} out of the queue?", detail, yes, lambda: self._request_stop(row))
            return
        if stopping:
            detail = "It has been asked to stop already. Asked again it ends at once, without a checkpoint."
            self._confirm(f"End {row.title} now?", detail, "Yes, end it", lambda: self._request_stop(row))
            return
        done = f"Step {row.step} of {row.total}. " if row.total else ""
        detail = f"{done}It ends the step it is in, saves a checkpoint and stops."
        self._confirm(f"Stop {row.title}?", detail, "Yes, stop", lambda: self._request_stop(row))

    def _request_stop(self, row: "RunRow") -> None:
        def job() -> str:
            from mg_tui.runs import operations

            asked = operations.request_stop(row.folder, _requester(), patience=0.0)
            if asked.queued:
                return "taken out of the queue" if asked.acknowledged else "asked to leave the queue"
            return "asked to end at once" if asked.request == "stop_now" else "asked to stop after this step"

        self._run_in_thread(row.title, job)

    def save_checkpoint(self, row: "RunRow") -> None:
        """Ask a run for a checkpoint."""

        def job() -> str:
            from mg_tui.runs import operations

            operations.request_checkpoint(row.folder, _requester(), patience=0.0)
            return "asked for a checkpoint after this step"

        self._run_in_thread(row.title, job)

    def toggle_hold(self, row: "RunRow") -> None:
        """Keep a queued run from starting, or let it have its turn again."""

        def job() -> str:
            from mg_tui.runs import queue

            held = not queue.read_queue_record(row.folder).held
            queue.set_held(row.folder, held)
            return "held: it does not start until it is released" if held else "released: it starts when it is its turn"

        self._run_in_thread(row.title, job)

    def move_in_queue(self, row: "RunRow", by: int) -> None:
        """Move a queued run towards the front of the queue (negative) or its end."""

        def job() -> str:
            from mg_tui.runs import queue

            now = queue.queue_position(row.folder) or 1
            return f"number {queue.move_to_position(row.folder, max(now + by, 1))} in the queue"

        self._run_in_thread(row.title, job)

    def start_waiting_runs(self) -> None:
        """Start what should be waiting and is not, e.g. after the machine was started anew, and go on with runs that
        were interrupted where the settings say so."""

        def job() -> str:
            from mg_tui.runs import interrupted, launch, queue

            settings = self._app.settings
            resumed = interrupted.resume_interrupted(settings.home, _requester()) if settings.resume_interrupted else []
            woken = queue.restart_waiters(settings.home, launch.start_waiter)
            said = [f"{folder.id} was interrupted and goes on" for folder in resumed]
            return "\n".join([*said, *(f"{folder.id} waits again" for folder in woken)])

        self._run_in_thread("The queue", job)

    # --- runs that have ended

    def resume(self, row: "RunRow") -> None:
        """Say where a run would go on from, ask, and go on."""

        def look() -> None:
            from mg_tui.runs.resume import find_resume_target

            found = find_resume_target(row.folder, from_start=True)
            self._app.call_from_thread(self._confirm_resume, row, found)

        self._run_in_thread(row.title, look)

    def _confirm_resume(self, row: "RunRow", found: "ResumeTarget") -> None:
        def job() -> str:
            from mg_tui.runs import operations

            operations.resume_run(row.folder, _requester(), from_start=found.step is None)
            return "goes on"

        detail = f"It goes on {found.summary}. It stays the same run: its curves and its folder go on."
        self._confirm(f"Resume {row.title}?", detail, "Yes, resume", lambda: self._run_in_thread(row.title, job))

    def rerun(self, row: "RunRow") -> None:
        """Open the form of new runs with the options of this one."""
        self._app.open_rerun_form(row.folder)

    def remove(self, rows: Sequence["RunRow"]) -> None:
        """Ask whether runs are to be removed, and remove them."""
        rows = [row for row in rows if row.state in REMOVABLE_STATES]
        if not rows:
            self._app.notify("A run that is running or queued cannot be removed: stop it first.", severity="warning")
            return
        one = len(rows) == 1
        what = rows[0].title if one else formatting.count(len(rows), "run")
        names = "" if one else ", ".join(row.title for row in rows[:6]) + (" …" if len(rows) > 6 else "") + ". "
        detail = f"{names}Journal, log, checkpoints and the result in its folder are deleted; output folders stay."
        self._confirm(
            f"Remove {what}?", detail, "Yes, remove", lambda: self._run_in_thread(what, lambda: _remove_runs(rows))
        )

    # --- how

    def _confirm(self, question: str, detail: str, yes: str, then: Callable[[], None]) -> None:
        from mg_tui.tui.screens.confirm import ConfirmScreen

        self._app.push_screen(ConfirmScreen(question, detail, yes), lambda said: then() if said else None)

    def _run_in_thread(self, title: str, job: Callable[[], str | None]) -> None:
        """Have `job` done in a thread, and what it answers said under `title`."""

        def work() -> None:
            try:
                said = job()
            except GardenError as error:
                text = "\n".join(error.lines())
                self._app.call_from_thread(self._app.notify, text, title=title, severity="error", timeout=12)
                return
            except Exception as error:  # a bug must not vanish with its thread
                text = f"{type(error).__name__}: {error}"
                self._app.call_from_thread(self._app.notify, text, title=title, severity="error", timeout=12)
                return
            if said:
                self._app.call_from_thread(self._app.notify, f"{title}: {said}")
            self._app.runs_feed.resume()

        self._app.run_worker(work, thread=True, exit_on_error=False)


def _remove_runs(rows: Sequence["RunRow"]) -> str:
    from mg_tui.runs.remove import remove_run

    for row in rows:
        remove_run(row.folder)
    return "removed"


def _requester() -> str:
    from mg_tui.runs.control import requester

    return requester("dashboard")
