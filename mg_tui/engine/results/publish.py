"""Write a folder beside its target and rename it: a folder that exists is complete."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mg_tui.core.errors import EnvironmentProblem, GardenError
from mg_tui.core.files import explain_failed_write, fsync_folder, require_in_place
from mg_tui.runs.output_folder import require_empty_target


@contextmanager
def publish_folder(target: Path, *, tag: str, replace: bool = False, last: str | None = None) -> Iterator[Path]:
    """A folder to write into; renamed to `target` when the block succeeds, removed when it fails.

    Where `target` cannot be renamed onto (a mounted volume, a parent that is not ours to write in), the files are
    written inside it and moved up at the end, `last` after all others, so that its presence still means complete.

    Args:
        target: a new folder, or an empty one.
        tag: makes the name of the folder beside unique; what an earlier process with this tag left there is removed.
        replace: an existing folder with files in it is replaced.
        last: name of the file that is moved last where a rename is not possible.

    Raises:
        UsageError: `target` exists and is a file or not empty.
        EnvironmentProblem: no permission or no space.
    """
    with _translate_os_errors(target):
        target = target.expanduser().resolve()
        require_empty_target(target, allow_files=replace)
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = os.access(target.parent, os.W_OK | os.X_OK) and not (target.exists() and target.is_mount())
        staging = (target.parent if beside else target) / f".{target.name}.part-{tag}"
        if staging.exists():
            shutil.rmtree(staging)
        staging.mkdir(parents=True)
    try:
        with _translate_os_errors(target):
            with require_in_place(staging):
                yield staging
                _sync_tree(staging)
            if not (beside and _rename_onto(staging, target, replace=replace)):
                _move_files(staging, target, replace=replace, last=last)
            fsync_folder(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _rename_onto(staging: Path, target: Path, *, replace: bool) -> bool:
    """Rename onto `target`; False where the file system does not allow it."""
    old = target.parent / f".{target.name}.old-{os.getpid()}"
    try:
        if replace and target.is_dir() and any(target.iterdir()):
            target.rename(old)
        staging.rename(target)  # an empty folder at the place is replaced by rename itself
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EBUSY):
            return False
        raise
    shutil.rmtree(old, ignore_errors=True)
    return True


def _move_files(staging: Path, target: Path, *, replace: bool, last: str | None) -> None:
    target.mkdir(exist_ok=True)
    if replace:
        if last:
            (target / last).unlink(missing_ok=True)
        for path in target.iterdir():
            if path != staging:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for path in sorted(staging.iterdir(), key=lambda path: path.name == last):
        shutil.move(path, target / path.name)
        if path.name == last:
            fsync_folder(target)
    fsync_folder(target)


def _sync_tree(folder: Path) -> None:
    """Bring every file and folder below `folder` to the disk, so that the rename never shows less than was written.

    Files get the permissions that new files have: safetensors leaves weights readable by their owner alone.
    """
    umask = os.umask(0o077)
    os.umask(umask)
    for root, _folders, files in os.walk(folder):
        for name in files:
            with (Path(root) / name).open("rb") as stream:
                os.fchmod(stream.fileno(), 0o666 & ~umask)
                os.fsync(stream.fileno())
        fsync_folder(Path(root))


@contextmanager
def _translate_os_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except GardenError:
        raise
    except OSError as error:
        why, hint = explain_failed_write(error, _existing_folder(target)) or (
            error.strerror or str(error),
            "choose a folder you may write to with --output-dir or --output",
        )
        where = str(error.filename or target)
        raise EnvironmentProblem("the result could not be written", where=where, why=why, hint=hint) from error
    except Exception as error:
        # safetensors reports a full disk with an error of its own; imported here, it would cost every error its import.
        if type(error).__name__ != "SafetensorError":
            raise
        why, hint = explain_failed_write(error, _existing_folder(target)) or (str(error), "the log has the traceback")
        raise EnvironmentProblem("the weights could not be written", where=str(target), why=why, hint=hint) from error


def _existing_folder(target: Path) -> Path:
    return next(folder for folder in (target, *target.absolute().parents) if folder.is_dir())
