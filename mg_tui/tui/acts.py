"""What a person does to runs from the dashboard: asked about where it must be, done in a thread, said when done."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from mg_tui.core.errors import GardenError
from mg_tui.runs.state import RunState
from mg_tui.tui import words

if TYPE_CHECKING:
    from mg_tui.runs.resume import Resumption
    from mg_tui.tui.app import GardenApp
    from mg_tui.tui.snapshot import RunRow

# What can be gone on with, and what can be removed.
AGAIN: Final = (RunState.STOPPED, RunState.FAILED, RunState.CRASHED, RunState.INTERRUPTED, RunState.CREATED)
REMOVABLE: Final = (*AGAIN, RunState.FINISHED)


class Acts:
    """Questions and deeds; everything that touches a disk or a process is done away from the interface's thread."""

    def __init__(self, app: "GardenApp") -> None:
        self._app = app

    # --- running and queued runs

    def stop(self, row: "RunRow", *, stopping: bool = False) -> None:
        """Ask whether a run is to stop or to leave the queue, and have it done if so."""
        if row.state is RunState.QUEUED:
            detail, yes = "It is taken out of the queue; it can be resumed or removed later.", "Yes, take it out"
            self._ask(f"Take {row.title} out of the queue?", detail, yes, lambda: self._stop(row))
            return
        if stopping:
            detail = "It has been asked to stop already. Asked again it ends at once, without a checkpoint."
            self._ask(f"End {row.title} now?", detail, "Yes, end it", lambda: self._stop(row))
            return
        done = f"Step {row.step} of {row.total}. " if row.total else ""
        detail = f"{done}It ends the step it is in, saves a checkpoint and stops."
        self._ask(f"Stop {row.title}?", detail, "Yes, stop", lambda: self._stop(row))

    def _stop(self, row: "RunRow") -> None:
        def job() -> str:
            from mg_tui.runs import actions

            asked = actions.stop(row.folder, _me(), patience=0.0)
            if asked.queued:
                return "taken out of the queue" if asked.seen else "asked to leave the queue"
            return "asked to end at once" if asked.request == "stop_now" else "asked to stop after this step"

        self._do(row.title, job)

    def save(self, row: "RunRow") -> None:
        """Ask a run for a checkpoint."""

        def job() -> str:
            from mg_tui.runs import actions

            actions.save(row.folder, _me(), patience=0.0)
            return "asked for a checkpoint after this step"

        self._do(row.title, job)

    def hold(self, row: "RunRow") -> None:
        """Keep a queued run from starting, or let it have its turn again."""

        def job() -> str:
            from mg_tui.runs import queue

            held = not queue.read_place(row.folder).held
            queue.hold(row.folder, held)
            return "held: it does not start until it is released" if held else "released: it starts when it is its turn"

        self._do(row.title, job)

    def move(self, row: "RunRow", by: int) -> None:
        """Move a queued run towards the front of the queue (negative) or its end."""

        def job() -> str:
            from mg_tui.runs import queue

            now = queue.position(row.folder) or 1
            return f"number {queue.move(row.folder, max(now + by, 1))} in the queue"

        self._do(row.title, job)

    def wake(self) -> None:
        """Start what should be waiting and is not, e.g. after the machine was started anew, and go on with runs that
        were interrupted where the settings say so."""

        def job() -> str:
            from mg_tui.runs import interrupted, launch, queue

            settings = self._app.settings
            resumed = interrupted.resume_all(settings.home, _me()) if settings.resume_interrupted else []
            woken = queue.wake(settings.home, launch.start_waiting)
            said = [f"{folder.id} was interrupted and goes on" for folder in resumed]
            return "\n".join([*said, *(f"{folder.id} waits again" for folder in woken)])

        self._do("The queue", job)

    # --- runs that have ended

    def resume(self, row: "RunRow") -> None:
        """Say where a run would go on from, ask, and go on."""

        def look() -> None:
            from mg_tui.runs.resume import resumable

            found = resumable(row.folder, from_start=True)
            self._app.call_from_thread(self._ask_resume, row, found)

        self._do(row.title, look)

    def _ask_resume(self, row: "RunRow", found: "Resumption") -> None:
        def job() -> str:
            from mg_tui.runs import actions

            actions.resume(row.folder, _me(), from_start=found.step is None)
            return "goes on"

        detail = f"It goes on {found.said}. It stays the same run: its curves and its folder go on."
        self._ask(f"Resume {row.title}?", detail, "Yes, resume", lambda: self._do(row.title, job))

    def rerun(self, row: "RunRow") -> None:
        """Open the form of new runs with the options of this one."""
        self._app.open_new_run(row.folder)

    def remove(self, rows: Sequence["RunRow"]) -> None:
        """Ask whether runs are to be removed, and remove them."""
        rows = [row for row in rows if row.state in REMOVABLE]
        if not rows:
            self._app.notify("A run that is running or queued cannot be removed: stop it first.", severity="warning")
            return
        one = len(rows) == 1
        what = rows[0].title if one else words.count(len(rows), "run")
        names = "" if one else ", ".join(row.title for row in rows[:6]) + (" …" if len(rows) > 6 else "") + ". "
        detail = f"{names}Journal, log, checkpoints and the result in its folder are deleted; output folders stay."
        self._ask(f"Remove {what}?", detail, "Yes, remove", lambda: self._do(what, lambda: _remove(rows)))

    # --- how

    def _ask(self, question: str, detail: str, yes: str, then: Callable[[], None]) -> None:
        from mg_tui.tui.screens.confirm import ConfirmScreen

        self._app.push_screen(ConfirmScreen(question, detail, yes), lambda said: then() if said else None)

    def _do(self, title: str, job: Callable[[], str | None]) -> None:
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


def _remove(rows: Sequence["RunRow"]) -> str:
    from mg_tui.runs.remove import remove

    for row in rows:
        remove(row.folder)
    return "removed"


def _me() -> str:
    from mg_tui.runs.control import whoami

    return whoami("dashboard")
