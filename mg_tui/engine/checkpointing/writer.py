"""Writes checkpoints atomically: a folder with a checkpoint's name is complete.

A checkpoint is written into a folder beside the others under a hidden name, every file is synced, a manifest with sizes
and checksums is added, and only then is the folder renamed to `step-000200`. However the process dies, a folder of that
name is complete. Its manifest is checked before it is used again, because files get damaged on disk too. The format is
in `mg_tui.runs.checkpoint_format`.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.core.files import (
    NEARLY_FULL_BYTES,
    explain_failed_write,
    fsync_folder,
    has_free_inodes,
    require_in_place,
    write_atomic,
)
from mg_tui.runs.checkpoint_format import (
    MANIFEST_FILE,
    UNFINISHED_PREFIX,
    checksum,
    folder_of,
    list_checkpoints,
    make_manifest,
    newest_valid,
    read_manifest,
    step_of,
    with_checksum,
)


@dataclass(frozen=True, slots=True)
class WrittenCheckpoint:
    """A checkpoint that was just written: its folder and its size in bytes."""

    path: Path
    bytes: int


@contextmanager
def write_checkpoint(
    checkpoints: Path, step: int, about: dict[str, Any], *, needed: int
) -> Iterator[tuple[Path, list[WrittenCheckpoint]]]:
    """Yield a folder to write a checkpoint into; it is renamed to `step-...` when the block ends without an exception.

    Args:
        checkpoints: the folder of all checkpoints; created when missing, in the run's folder, which exists.
        step: optimizer steps done.
        about: facts stored in the manifest beside the files' sizes and checksums.
        needed: bytes the checkpoint is expected to take; checked against the free space first.

    Yields:
        The folder, and a list that holds one `WrittenCheckpoint` after the block.

    Raises:
        EnvironmentProblem: the disk is full. Older checkpoints are intact.
    """
    checkpoints.mkdir(exist_ok=True)  # not its parents: a run whose folder is gone is not begun anew
    _require_space(checkpoints, step, needed)
    unfinished = checkpoints / f"{UNFINISHED_PREFIX}{folder_of(checkpoints, step).name}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    done: list[WrittenCheckpoint] = []
    try:
        with require_in_place(unfinished):
            yield unfinished, done
            total = _write_manifest(unfinished, step, about)
        target = folder_of(checkpoints, step)
        if target.exists():  # a damaged one: a complete one is never written twice
            shutil.rmtree(target)
        unfinished.rename(target)
        _sync(checkpoints)
    except Exception as error:
        reason = explain_failed_write(error, checkpoints)  # before the removal frees space
        shutil.rmtree(unfinished, ignore_errors=True)
        if reason is not None:
            raise _no_space_error(checkpoints, step, *reason) from error
        raise
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    done.append(WrittenCheckpoint(target, total))


def add_to_manifest(folder: Path, facts: dict[str, Any]) -> int:
    """Add facts to the manifest of a complete checkpoint, atomically; returns the bytes of all its files."""
    manifest = with_checksum({**read_manifest(folder), **facts})
    data = (json.dumps(manifest, indent=1) + "\n").encode()
    write_atomic(folder / MANIFEST_FILE, data)
    fsync_folder(folder)
    return sum(int(file["bytes"]) for file in manifest["files"].values()) + len(data)


def prune(checkpoints: Path, keep: int, *, best: Path | None = None) -> list[Path]:
    """Remove the oldest checkpoints beyond `keep` and return them; `best` and the newest complete one always stay."""
    folders = list_checkpoints(checkpoints)
    surplus = folders[: max(len(folders) - keep, 0)]
    if not surplus:
        return []
    newest, _ = newest_valid(checkpoints)
    removed = []
    for folder in surplus:
        if folder in (best, newest):
            continue
        _remove(folder)
        removed.append(folder)
    return removed


def remove_after(checkpoints: Path, step: int) -> list[Path]:
    """Remove the checkpoints after a step, the newest first, and return them."""
    later = [folder for folder in reversed(list_checkpoints(checkpoints)) if (step_of(folder) or 0) > step]
    for folder in later:
        _remove(folder)
    return later


def _remove(folder: Path) -> None:
    # Renamed first: an interrupted removal must not leave half a folder under a checkpoint's name.
    doomed = folder.with_name(f"{UNFINISHED_PREFIX}{folder.name}-removed")
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def remove_unfinished(checkpoints: Path) -> None:
    """Remove folders that a killed process did not finish. Only for the holder of the run's lock."""
    if checkpoints.is_dir():
        for path in checkpoints.glob(f"{UNFINISHED_PREFIX}*"):
            shutil.rmtree(path, ignore_errors=True)


def _write_manifest(folder: Path, step: int, about: dict[str, Any]) -> int:
    """Sync every file, write the manifest, sync the folders; returns the bytes of all files."""
    files: dict[str, tuple[int, int]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        _sync(path)
        name = path.relative_to(folder).as_posix()
        files[name] = (path.stat().st_size, checksum(path))
    manifest = folder / MANIFEST_FILE
    manifest.write_text(json.dumps(make_manifest(step, about, files), indent=1) + "\n")
    _sync(manifest)
    for inner in (path for path in folder.rglob("*") if path.is_dir()):
        _sync(inner)
    _sync(folder)
    return sum(size for size, _checksum in files.values()) + manifest.stat().st_size


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _require_space(checkpoints: Path, step: int, needed: int) -> None:
    free = shutil.disk_usage(checkpoints).free
    if free < needed + NEARLY_FULL_BYTES:
        why = f"it takes about {needed / 2**20:,.0f} MiB and {free / 2**20:,.0f} MiB are free"
        raise _no_space_error(checkpoints, step, why, "free some space, or lower save_total_limit")
    if not has_free_inodes(checkpoints) and (reason := explain_failed_write(OSError(errno.ENOSPC, ""), checkpoints)):
        raise _no_space_error(checkpoints, step, *reason)


def _no_space_error(checkpoints: Path, step: int, why: str, hint: str) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"no room for the checkpoint of step {step}",
        where=str(checkpoints),
        why=f"{why}; earlier checkpoints are intact",
        hint=f"{hint}; then resume the run",
    )
