"""Removed models, kept under the home folder until they are restored, deleted, or 14 days old.

A removed model is `<home>/trash/models/<Unix time of removal in milliseconds>-<name>/`, with the result's folder in
`result/` and where it was in `origin.json`. That file is written first: a result is moved in one step, there and back.
"""

import contextlib
import errno
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mg_tui.core.errors import EnvironmentProblem, RunFailed, UsageError
from mg_tui.core.files import write_atomic
from mg_tui.runs import json_store, trash
from mg_tui.runs.folder import RUNS_FOLDER, RunFolder
from mg_tui.runs.lock import RunLock
from mg_tui.runs.result_metadata import METADATA_FILE
from mg_tui.runs.results import read_result, result_name

MODELS_FOLDER: Final = "models"
_RESULT: Final = "result"
_ORIGIN: Final = "origin.json"
_ENTRY: Final = re.compile(r"(\d{13,})-.+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RemovedModel:
    """A model in the trash: its name, its folder there, where it was, and when it was removed (Unix seconds)."""

    name: str
    path: Path
    origin: Path
    removed_at: float

    @property
    def deleted_at(self) -> float:
        """From when on it may be deleted; Unix time in seconds."""
        return self.removed_at + trash.KEEP_SECONDS


def remove_model(home: Path, folder: Path, *, permanently: bool = False) -> RemovedModel | None:
    """Move a result to the trash; None when it was deleted.

    Args:
        home: the home folder, which has the trash.
        folder: the result's folder.
        permanently: delete it at once.

    Raises:
        UsageError: it is no result, or its run is running.
        EnvironmentProblem: it could not be moved or deleted.
    """
    if not (folder / METADATA_FILE).is_file():
        raise UsageError("This is no result of a run or a merge.", where=str(folder), why=f"it has no {METADATA_FILE}")
    with _run_at_rest(home, folder):
        if permanently:
            trash.delete_tree(folder)
            return None
        name = f"{time.time_ns() // 1_000_000:013d}-{result_name(folder)[:60]}"
        entry = home / trash.TRASH_FOLDER / MODELS_FOLDER / name
        try:
            entry.mkdir(parents=True)
            write_atomic(entry / _ORIGIN, json.dumps({"path": str(folder)}).encode())
            folder.rename(entry / _RESULT)
        except OSError as error:
            with contextlib.suppress(EnvironmentProblem):
                trash.delete_tree(entry)
            crosses = error.errno == errno.EXDEV
            raise EnvironmentProblem(
                "Cannot move the model to the trash.",
                where=str(folder),
                why="the trash is on another disk" if crosses else error.strerror,
                hint=f"model-garden models rm --permanently {folder}" if crosses else None,
            ) from error
    empty_expired(home)
    return next((model for model in list_removed(home) if model.path == entry), None)


@contextlib.contextmanager
def _run_at_rest(home: Path, folder: Path) -> Iterator[None]:
    """While this holds, the run that made a result does not run: its worker would write the result anew."""
    result = read_result(folder)
    run = result.run if result.kind != "merged" else None
    owner = RunFolder(home / RUNS_FOLDER / run) if run and "/" not in run and "\0" not in run else None
    if owner is None or not owner.path.is_dir():
        yield
        return
    lock = RunLock(owner.lock_file)
    try:
        lock.acquire(patience=0.2)
    except RunFailed:
        raise UsageError(
            f"Run {owner.id}, which writes this model, is running.", hint=f"model-garden runs stop {owner.id}"
        ) from None
    try:
        yield
    finally:
        lock.release()


def list_removed(home: Path) -> list[RemovedModel]:
    """The removed models, last removed first."""
    removed = []
    with contextlib.suppress(OSError):
        for path in (home / trash.TRASH_FOLDER / MODELS_FOLDER).iterdir():
            match, origin = _ENTRY.fullmatch(path.name), json_store.load(path / _ORIGIN).get("path")
            if match and isinstance(origin, str) and (path / _RESULT).is_dir():
                removed.append(RemovedModel(result_name(Path(origin)), path, Path(origin), int(match[1]) / 1000))
    return sorted(removed, key=lambda model: model.path.name, reverse=True)


def find_removed(home: Path, ref: str) -> RemovedModel:
    """The model in the trash with this name or former folder, or "last" for the last removed.

    Raises:
        UsageError: there is none, or more than one.
    """
    models = list_removed(home)
    if not models:
        raise UsageError("There are no models in the trash.", where=str(home / trash.TRASH_FOLDER / MODELS_FOLDER))
    if ref == "last":
        return models[0]
    matches = [model for model in models if str(model.origin) == str(Path(ref).absolute())][:1]
    matches = matches or [model for model in models if model.name == ref]
    if len(matches) == 1:
        return matches[0]
    named = ", ".join(str(model.origin) for model in (matches or models)[:6])
    if matches:
        raise UsageError(f"{ref!r} matches {len(matches)} removed models.", hint=f"use the folder: {named}")
    raise UsageError(f"No removed model {ref!r}.", hint=f"there is {named}")


def restore_model(removed: RemovedModel) -> Path:
    """Move a model out of the trash, to where it was.

    Raises:
        UsageError: something is there already.
        EnvironmentProblem: it could not be moved.
    """
    if removed.origin.exists() or removed.origin.is_symlink():
        raise UsageError("Something else is where the model was.", where=str(removed.origin))
    try:
        removed.origin.parent.mkdir(parents=True, exist_ok=True)
        (removed.path / _RESULT).rename(removed.origin)
    except OSError as error:
        raise EnvironmentProblem("Cannot restore the model.", where=str(removed.origin), why=error.strerror) from error
    with contextlib.suppress(EnvironmentProblem):
        trash.delete_tree(removed.path)
    return removed.origin


def empty(home: Path, *, older_than: float = 0.0) -> list[RemovedModel]:
    """Delete the models that were removed more than `older_than` seconds ago, and return them.

    Raises:
        EnvironmentProblem: one could not be deleted, or only partially.
    """
    latest = time.time() - older_than
    deleted = [model for model in list_removed(home) if model.removed_at <= latest]
    for model in deleted:
        trash.delete_tree(model.path)
    return deleted


def empty_expired(home: Path) -> None:
    """Delete models that were removed more than 14 days ago; what cannot be deleted stays."""
    with contextlib.suppress(EnvironmentProblem):
        empty(home, older_than=trash.KEEP_SECONDS)
