"""Removed runs, kept under the home folder until they are restored, deleted, or 14 days old.

A removed run is `<home>/trash/<Unix time of removal in milliseconds>-<run id>`, renamed there in one step.
"""

import contextlib
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.runs.elsewhere import elsewhere_at
from mg_tui.runs.folder import RUNS_FOLDER, RunFolder

TRASH_FOLDER: Final = "trash"
KEEP_SECONDS: Final = 14 * 86400.0
_ENTRY: Final = re.compile(r"(\d{13,})-(.+)")


@dataclass(frozen=True, slots=True)
class RemovedRun:
    """A run in the trash: its id, where it is, and when it was removed (Unix time in seconds)."""

    id: str
    path: Path
    removed_at: float

    @property
    def deleted_at(self) -> float:
        """From when on it may be deleted; Unix time in seconds."""
        return self.removed_at + KEEP_SECONDS


def trash_path(folder: RunFolder) -> Path:
    """Where to move a run that is removed now; its parent exists.

    Raises:
        OSError: the trash cannot be created.
    """
    trash = folder.home / TRASH_FOLDER
    trash.mkdir(exist_ok=True)
    return trash / f"{time.time_ns() // 1_000_000:013d}-{folder.id}"


def list_trash(home: Path) -> list[RemovedRun]:
    """The removed runs, last removed first."""
    if (elsewhere := elsewhere_at(home)) is not None:
        return [RemovedRun(id, Path(path), at) for id, path, at in elsewhere.list_trash()]
    removed = []
    with contextlib.suppress(OSError):
        for path in (home / TRASH_FOLDER).iterdir():
            if match := _ENTRY.fullmatch(path.name):
                removed.append(RemovedRun(match[2], path, int(match[1]) / 1000))
    return sorted(removed, key=lambda run: run.path.name, reverse=True)


def find_removed(home: Path, ref: str) -> RemovedRun:
    """The run in the trash with this id, a unique prefix or suffix of it, or "last" for the last removed.

    Raises:
        UsageError: there is none, or more than one.
    """
    runs = list_trash(home)
    if not runs:
        raise UsageError("The trash is empty.", where=str(home / TRASH_FOLDER))
    if ref == "last":
        return runs[0]
    matches = [run for run in runs if run.id == ref][:1]  # the same id twice: the last removed
    matches = matches or [run for run in runs if ref and (run.id.startswith(ref) or run.id.endswith(ref))]
    if len(matches) == 1:
        return matches[0]
    ids = ", ".join(run.id for run in (matches or runs)[:6])
    if matches:
        raise UsageError(f"{ref!r} matches {len(matches)} removed runs.", hint=f"use a longer id: {ids}")
    raise UsageError(f"No removed run {ref!r}.", where=str(home / TRASH_FOLDER), hint=f"there is {ids}")


def restore_run(home: Path, run: RemovedRun) -> RunFolder:
    """Move a run out of the trash, to where it was.

    Raises:
        UsageError: there is a run with its id.
        EnvironmentProblem: it could not be moved.
    """
    target = home / RUNS_FOLDER / run.id
    if (elsewhere := elsewhere_at(home)) is not None:
        elsewhere.restore(run.id)
        return RunFolder(target)
    if target.exists() or target.is_symlink():
        raise UsageError(f"There is a run {run.id} already.", where=str(target))
    try:
        target.parent.mkdir(exist_ok=True)
        run.path.rename(target)
    except OSError as error:
        raise EnvironmentProblem("Cannot restore the run.", where=str(run.path), why=error.strerror) from error
    return RunFolder(target)


def empty_trash(home: Path, *, older_than: float = 0.0) -> list[RemovedRun]:
    """Delete the runs that were removed more than `older_than` seconds ago, and return them.

    Raises:
        EnvironmentProblem: one could not be deleted, or only partially.
    """
    if elsewhere_at(home) is not None:
        return []  # that machine empties its own
    latest = time.time() - older_than
    deleted = [run for run in list_trash(home) if run.removed_at <= latest]
    for run in deleted:
        delete_tree(run.path)
    return deleted


def empty_expired(home: Path) -> None:
    """Delete runs that were removed more than 14 days ago; what cannot be deleted stays."""
    with contextlib.suppress(EnvironmentProblem):
        empty_trash(home, older_than=KEEP_SECONDS)


def delete_tree(path: Path) -> None:
    """Delete a folder; of a link, only the link.

    Raises:
        EnvironmentProblem: it could not be deleted, or only partially.
    """
    try:
        if path.is_symlink():
            path.unlink()
        else:
            shutil.rmtree(path)
    except OSError as error:
        raise EnvironmentProblem(
            "Cannot delete the run folder.", where=str(error.filename or path), why=error.strerror
        ) from error
