"""Remove a run's folder: never of a running one, and never partially visible."""

import secrets
import shutil

from mg_tui.core.errors import EnvironmentProblem, RunFailed, UsageError
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.lock import RunLock


def remove_run(folder: RunFolder) -> None:
    """Remove a run with its checkpoints and, unless it went to an output folder, its result.

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
    hidden = folder.path.with_name(f".removed-{folder.id}-{secrets.token_hex(2)}")
    try:
        folder.path.rename(hidden)
        if hidden.is_symlink():
            hidden.unlink()
        else:
            shutil.rmtree(hidden)
    except OSError as error:
        raise EnvironmentProblem(
            "Cannot delete the run folder.", where=str(error.filename or hidden), why=error.strerror
        ) from error
    finally:
        lock.release()
