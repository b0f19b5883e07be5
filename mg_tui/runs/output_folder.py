"""The output folder of a result: checked before a run or a job is created, and removed again if that fails."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mg_tui.core.errors import GardenError, UsageError
from mg_tui.core.text import first_few
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.state import RunState
from mg_tui.runs.store import run_folders
from mg_tui.runs.watch import RunWatch

# Of runs that write their result there when they are resumed, if need be automatically.
_RESERVING_STATES = (RunState.RUNNING, RunState.QUEUED, RunState.CRASHED, RunState.INTERRUPTED)
_HINT = "choose a new or empty folder with --output-dir"


@contextlib.contextmanager
def reserve_output_folder(output_dir: str | None, home: Path) -> Iterator[None]:
    """Create and check the output folder; created folders are removed if the body raises. None does nothing.

    Raises:
        UsageError: it is a file, is not empty, cannot be written to, or is reserved by a run that has not finished.
    """
    if output_dir is None:
        yield
        return
    path = Path(output_dir)
    _require_unreserved(path, home)
    created = _make_folders(path)
    try:
        _require_usable(path)
        yield
    except BaseException:
        _remove_folders(created)
        raise


def check_output_folder(path: Path) -> None:
    """The same check, without leaving anything behind.

    Raises:
        UsageError: as `reserve_output_folder`, except for reservations.
    """
    created = _make_folders(path)
    try:
        _require_usable(path)
    finally:
        _remove_folders(created)


def require_empty_target(target: Path, *, allow_files: bool = False) -> None:
    """Refuse a place that is a file, or a folder with something in it.

    Raises:
        UsageError: naming the place.
    """
    if target.exists() and not target.is_dir():
        raise UsageError("the output folder is a file", where=str(target), hint="name a new or empty folder")
    if not allow_files and target.is_dir() and any(not _is_staging(path, target) for path in target.iterdir()):
        raise UsageError("the output folder is not empty", where=str(target), hint="name a new or empty folder")


def _is_staging(path: Path, target: Path) -> bool:
    return path.name.startswith(f".{target.name}.part-")


def check_resumed_output(folder: RunFolder, output_dir: Path, home: Path) -> None:
    """Check the output folder of a run that is to be resumed: found now, and not when its result is saved.

    What an interrupted save left there does not count.

    Raises:
        UsageError: it cannot be used, with the option that names another.
    """
    hint = f"name another: model-garden runs resume {folder.id} --output-dir FOLDER"
    try:
        _require_unreserved(output_dir, home, but=folder.id)
        created = _make_folders(output_dir)
        try:
            _require_empty(output_dir, ignored=f".{output_dir.name}.part-")
            _require_writable(output_dir)
        finally:
            _remove_folders(created)
    except UsageError as error:
        raise UsageError(error.what, where=error.where, why=error.why, hint=hint) from error


def _remove_folders(created: list[Path]) -> None:
    for folder in reversed(created):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _require_usable(path: Path) -> None:
    _require_empty(path)
    _require_writable(path)


def _make_folders(path: Path) -> list[Path]:
    """Create `path` and its missing parents; returns the created folders, outermost first."""
    missing = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)][::-1]
    created: list[Path] = []
    try:
        for folder in missing:
            folder.mkdir()
            created.append(folder)
        if not path.is_dir():
            raise UsageError("The output path is not a folder.", where=str(path), hint=_HINT)
    except OSError as error:
        _remove_folders(created)
        raise UsageError("Cannot create the output folder.", where=str(path), why=error.strerror, hint=_HINT) from error
    return created


def _require_empty(path: Path, *, ignored: str | None = None) -> None:
    try:
        names = sorted(entry.name for entry in path.iterdir() if not (ignored and entry.name.startswith(ignored)))
    except OSError as error:
        raise UsageError("Cannot read the output folder.", where=str(path), why=error.strerror, hint=_HINT) from error
    if names:
        why = f"it contains {first_few(names, 3)}"
        raise UsageError("The output folder is not empty.", where=str(path), why=why, hint=_HINT)


def _require_writable(path: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UsageError(
            "The output folder is not writable.", where=str(path), why=error.strerror, hint=_HINT
        ) from error


def _require_unreserved(path: Path, home: Path, *, but: str | None = None) -> None:
    run_id = next((folder.id for folder in run_folders(home) if folder.id != but and _reserves(folder, path)), None)
    if run_id is not None:
        raise UsageError(
            "The output folder is in use by another run.",
            where=str(path),
            why=f"run {run_id} has not finished, and writes its result there when it is resumed",
            hint=f"{_HINT}, or delete that run with `model-garden runs rm {run_id}`",
        )


def _reserves(folder: RunFolder, path: Path) -> bool:
    try:
        if folder.spec_values().get("output_dir") != str(path):
            return False
        watch = RunWatch(folder)
        watch.refresh()
    except GardenError:
        return False  # a broken run reserves nothing
    return watch.state in _RESERVING_STATES
