"""Remove a run's folder: never of a running one, and never partially visible."""

import errno
import secrets
from pathlib import Path

from mg_tui.core.errors import EnvironmentProblem, RunFailed, UsageError
from mg_tui.runs import checkpoint_format, trash
from mg_tui.runs.elsewhere import elsewhere_of
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock


def remove_run(folder: RunFolder, *, permanently: bool = False) -> None:
    """Move a run with its checkpoints and, unless it went to an output folder, its result to the trash.

    Args:
        folder: the run.
        permanently: delete it at once.

    Raises:
        UsageError: the run is running.
        EnvironmentProblem: it could not be removed, or only partially.
    """
    if (elsewhere := elsewhere_of(folder)) is not None:
        elsewhere.remove(folder.id, permanently=permanently)
        return
    lock = RunLock(folder.lock_file)
    try:
        lock.acquire(patience=0.2)  # held while removing, so that no worker starts in it
    except RunFailed:
        raise UsageError(
            f"{folder.noun.capitalize()} {folder.id} is running and cannot be deleted.",
            hint=f"model-garden {folder.command} stop {folder.id}",
        ) from None
    try:
        hidden = folder.path.with_name(f".removed-{folder.id}-{secrets.token_hex(2)}")
        target = hidden if permanently else trash.trash_path(folder)
        folder.path.rename(target)
    except OSError as error:
        crosses = error.errno == errno.EXDEV
        raise EnvironmentProblem(
            "Cannot delete the run folder." if permanently else "Cannot move the run to the trash.",
            where=str(folder.path),
            why=error.strerror,
            hint=f"model-garden runs rm --permanently {folder.id}" if crosses else None,
        ) from error
    finally:
        lock.release()
    if permanently:
        trash.delete_tree(target)
    trash.empty_expired(folder.home)


def remove_checkpoint(folder: RunFolder, step: int, by: str) -> Path:
    """Delete a checkpoint of a run that is not running, and journal it; returns the folder that it was.

    Args:
        folder: the run.
        step: the step of the checkpoint.
        by: who asked: `control.requester(face)`.

    Raises:
        UsageError: the run is running or queued, or has no such checkpoint.
        EnvironmentProblem: it could not be deleted.
    """
    path = checkpoint_format.folder_of(folder.checkpoints_dir, step)
    if (elsewhere := elsewhere_of(folder)) is not None:
        elsewhere.remove_checkpoint(folder.id, step)
        return path
    lock = RunLock(folder.lock_file)
    try:
        lock.acquire(patience=0.2)  # the worker is the only other writer of the journal and of checkpoints
    except RunFailed:
        raise UsageError(
            f"Run {folder.id} is running; its checkpoints cannot be deleted.",
            hint=f"model-garden runs stop {folder.id}",
        ) from None
    try:
        if not path.is_dir():
            steps = [str(checkpoint_format.step_of(other)) for other in checkpoint_format.list_checkpoints(path.parent)]
            raise UsageError(
                f"Run {folder.id} has no checkpoint at step {step}.",
                hint=f"there is {', '.join(steps)}" if steps else "it has none",
            )
        hidden = path.with_name(f".removed-{path.name}-{secrets.token_hex(2)}")
        path.rename(hidden)  # never visible in parts
        with JournalWriter(folder.journal_file) as journal:
            relative = path.relative_to(folder.path).as_posix()
            journal.write("checkpoint_removed", step=step, path=relative, why=f"deleted by {by}")
        trash.delete_tree(hidden)
    except OSError as error:
        raise EnvironmentProblem(
            "The checkpoint cannot be deleted.", where=str(path), why=error.strerror or str(error)
        ) from error
    finally:
        lock.release()
    return path
