"""Remove a run's folder: never of a running one, and never partially visible."""

import errno
import secrets

from mg_tui.core.errors import EnvironmentProblem, RunFailed, UsageError
from mg_tui.runs import trash
from mg_tui.runs.folder import RunFolder
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
