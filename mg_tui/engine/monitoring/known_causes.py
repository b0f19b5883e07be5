"""Errors of libraries whose cause is known: they become errors for the user, with what to try.

An exception counts with everything it was raised from. Anything else is a bug and is reported with its traceback.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from mg_tui.core.errors import EnvironmentProblem, GardenError, exception_chain
from mg_tui.core.files import explain_failed_write
from mg_tui.engine.batching.data_workers import find_death
from mg_tui.engine.monitoring.stopping import folder_gone_error
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.lock import RunLock


def to_known_error(error: Exception, folder: RunFolder, lock: RunLock) -> GardenError | None:
    """The error for the user that ends a run or an evaluation; None for an exception without a known cause."""
    if not lock.in_place:  # whatever failed, failed for this
        return folder_gone_error(folder)
    return error if isinstance(error, GardenError) else find_known_cause(error, folder.path)


def find_known_cause(error: Exception, folder: Path) -> GardenError | None:
    """The error for the user that an unexpected exception stands for, or None.

    Args:
        error: of a library or the operating system.
        folder: of the run.
    """
    for link in exception_chain(error):
        if (died := find_death(str(link))) is not None:
            return died
        place = _existing_folder(getattr(link, "filename", None), folder)
        if place is not None and (reason := explain_failed_write(link, place)) is not None:
            return EnvironmentProblem("A file cannot be written.", where=str(place), why=reason[0], hint=reason[1])
        if isinstance(link, OSError) and link.errno in _SYSTEM_LIMITS:
            what, hint = _SYSTEM_LIMITS[link.errno]
            where = str(link.filename) if link.filename else None
            return EnvironmentProblem(what, where=where, why=link.strerror, hint=hint)
    return None


_SYSTEM_LIMITS: Final = {
    errno.EROFS: ("A file cannot be written.", "mount the file system writable again; then resume the run"),
    errno.EIO: ("The disk reports an error.", "look at `sudo dmesg`; copy the run elsewhere, and resume it there"),
    errno.ENOMEM: ("Out of memory of this machine.", "free memory, or lower max_pixels, max_seq_length or workers"),
    errno.EMFILE: ("Too many files are open.", "raise the limit (`ulimit -n 65536`), or lower workers"),
    errno.ENFILE: ("Too many files are open on this machine.", "end other processes, or raise fs.file-max"),
}


def _existing_folder(filename: object, folder: Path) -> Path | None:
    """The folder of the file an error names, else the run's; None when neither exists."""
    with suppress(OSError, TypeError, ValueError):
        if filename is not None and (parent := Path(os.fsdecode(filename)).parent).is_dir():  # type: ignore[arg-type]
            return parent
    return folder if folder.is_dir() else None
