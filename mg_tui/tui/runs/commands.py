"""What a person does to runs from the dashboard: confirmed where needed, done in a thread, reported when done."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import App

from mg_tui.config import Settings
from mg_tui.core.errors import GardenError, describe_exception
from mg_tui.runs.state import RunState
from mg_tui.tui import formatting

if TYPE_CHECKING:
    from mg_tui.runs.resume import ResumeTarget
    from mg_tui.tui.runs.snapshot import RunRow

Confirm = Callable[[str, str, str, Callable[[], None]], None]


class RunCommands:
    """Commands on runs; whatever touches a disk or a process runs outside of the interface's thread."""

    def __init__(
        self,
        app: App[None],
        confirm: Confirm,
        notify_error: Callable[[GardenError, str], None],
        changed: Callable[[], None],
    ) -> None:
        """
        Args:
            app: notifies, and runs workers.
            confirm: asks (question, detail, label of yes) and calls its last argument when the answer is yes.
            notify_error: shows an error under a title.
            changed: called, in the worker's thread, after a command: the list of runs may have changed.
        """
        self._app, self._confirm, self._notify_error, self._changed = app, confirm, notify_error, changed

    # --- running and queued runs

    def stop(self, row: "RunRow", *, stopping: bool = False) -> None:
        """Ask whether to stop a run, or to remove it from the queue. `stopping`: it was asked to stop already."""
        if row.state is RunState.QUEUED:
            detail, yes = "It leaves the queue; you can resume or remove it later.", "Remove from queue"
            self._confirm(f"Remove {row.title} from the queue?", detail, yes, lambda: self._request_stop(row))
            return
        if stopping:
            detail = "It is already stopping. Stop immediately, without saving a checkpoint?"
            self._confirm(f"Stop {row.title} now?", detail, "Stop now", lambda: self._request_stop(row))
            return
        progress = f"Step {row.step} of {row.total}. " if row.total else ""
        detail = f"{progress}It finishes the current step, saves a checkpoint and stops."
        self._confirm(f"Stop {row.title}?", detail, "Stop", lambda: self._request_stop(row))

    def _request_stop(self, row: "RunRow") -> None:
        def job() -> str:
            from mg_tui.runs import operations

            outcome = operations.request_stop(row.folder, _requester(), patience=0.0)
            if outcome.queued:
                return "removed from the queue" if outcome.acknowledged else "leaving the queue"
            return "stopping now" if outcome.request == "stop_now" else "stopping after this step"

        self.run_in_thread(row.title, job)

    def save_checkpoint(self, row: "RunRow") -> None:
        """Request a checkpoint."""

        def job() -> str:
            from mg_tui.runs import operations

            operations.request_checkpoint(row.folder, _requester(), patience=0.0)
            return "saving a checkpoint after this step"

        self.run_in_thread(row.title, job)

    def keep_machine(self, row: "RunRow") -> None:
        """Cancel what happens when the run is done."""

        def job() -> str:
            from mg_tui.runs import watcher_process

            watcher_process.cancel_ending(row.folder.path)
            return "cancelled: the machine keeps running when the run is done"

        self.run_in_thread(row.title, job)

    def toggle_hold(self, row: "RunRow") -> None:
        """Hold a queued run, or release it."""

        def job() -> str:
            from mg_tui.runs import queue

            held = not queue.read_queue_record(row.folder).held
            queue.set_held(row.folder, held)
            return "on hold until released" if held else "released; it starts when its devices are free"

        self.run_in_thread(row.title, job)

    def move_in_queue(self, row: "RunRow", by: int) -> None:
        """Move a queued run towards the front of the queue (negative) or its end."""

        def job() -> str:
            from mg_tui.runs import queue

            position = queue.queue_position(row.folder) or 1
            return f"number {queue.move_to_position(row.folder, max(position + by, 1))} in the queue"

        self.run_in_thread(row.title, job)

    def start_waiting_runs(self, settings: Settings) -> None:
        """Start the waiters of queued runs that have none, e.g. after a reboot, and resume interrupted runs where
        the settings say so."""

        def job() -> str:
            from mg_tui.runs import interrupted, launch, model_trash, queue, trash, watcher_process
            from mg_tui.runs.sweeps.driver import restart_drivers

            resumed = interrupted.resume_interrupted(settings.home, _requester()) if settings.resume_interrupted else []
            trash.empty_expired(settings.home)
            model_trash.empty_expired(settings.home)
            watcher_process.restart_watchers(settings.home)
            restart_drivers(settings.home)
            restarted = queue.restart_waiters(settings.home, launch.start_waiter)
            lines = [f"{folder.id} was interrupted and is running again" for folder in resumed]
            return "\n".join([*lines, *(f"{folder.id} is queued again" for folder in restarted)])

        self.run_in_thread("The queue", job)

    # --- runs that have ended

    def resume(self, row: "RunRow", *, at: int | None = None) -> None:
        """Find where a run would resume from, the newest checkpoint or the one `at` a step, confirm, and resume it."""
        wanted = None if at is None else str(at)

        def find_target() -> None:
            from mg_tui.runs.resume import find_resume_target

            target = find_resume_target(row.folder, from_start=True, at=wanted)
            self._app.call_from_thread(self._confirm_resume, row, target, wanted)

        self.run_in_thread(row.title, find_target)

    def _confirm_resume(self, row: "RunRow", target: "ResumeTarget", at: str | None) -> None:
        def job() -> str:
            from mg_tui.runs import operations

            operations.resume_run(row.folder, _requester(), from_start=target.step is None, at=at)
            return "resumed"

        detail = f"It continues {target.summary}. It stays the same run, with its curves and folder."
        self._confirm(f"Resume {row.title}?", detail, "Resume", lambda: self.run_in_thread(row.title, job))

    def delete_checkpoint(self, row: "RunRow", step: int) -> None:
        """Confirm, and delete one checkpoint of a run."""

        def job() -> str:
            from mg_tui.runs.remove import remove_checkpoint

            remove_checkpoint(row.folder, step, _requester())
            return f"the checkpoint at step {step} is deleted"

        detail = "It is deleted for good, not moved to the trash."
        self._confirm(
            f"Delete the checkpoint at step {step}?", detail, "Delete", lambda: self.run_in_thread(row.title, job)
        )

    def remove(self, rows: Sequence["RunRow"]) -> None:
        """Confirm and remove runs."""
        rows = [row for row in rows if row.state.can_remove]
        if not rows:
            self._app.notify("Stop running and queued runs before you remove them.", severity="warning")
            return
        single = len(rows) == 1
        what = rows[0].title if single else formatting.count(len(rows), "run")
        names = "" if single else ", ".join(row.title for row in rows[:6]) + (" …" if len(rows) > 6 else "") + ". "
        detail = (
            f"{names}Journal, log, checkpoints and the result in its folder move to the trash for 14 days; "
            "u restores them. Output folders are kept."
        )
        self._confirm(f"Remove {what}?", detail, "Remove", lambda: self.run_in_thread(what, lambda: _remove_runs(rows)))

    def restore(self, home: Path) -> None:
        """Bring the run back that was removed last."""

        def job() -> str:
            from mg_tui.runs import trash

            removed = trash.list_trash(home)
            if not removed:
                return "empty, nothing to restore"
            return f"{trash.restore_run(home, removed[0]).id} restored"

        self.run_in_thread("Trash", job)

    # --- threads

    def run_in_thread(self, title: str, job: Callable[[], str | None]) -> None:
        """Run `job` in a thread and notify its result, or its error, under `title`."""

        def work() -> None:
            try:
                result = job()
            except GardenError as error:
                self._app.call_from_thread(self._notify_error, error, title)
                return
            except Exception as error:  # a bug must not vanish with its thread
                self._app.call_from_thread(self._notify_error, GardenError(describe_exception(error)), title)
                return
            if result:
                self._app.call_from_thread(self._app.notify, f"{title}: {result}")
            self._changed()

        self._app.run_worker(work, thread=True, exit_on_error=False)


def _remove_runs(rows: Sequence["RunRow"]) -> str:
    from mg_tui.runs.remove import remove_run

    for row in rows:
        remove_run(row.folder)
    return "removed; u restores it" if len(rows) == 1 else "removed; u restores them one by one"


def _requester() -> str:
    from mg_tui.runs.control import requester

    return requester("dashboard")
