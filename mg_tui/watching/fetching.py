"""Brings a copy of a run back: `model-garden runs fetch SRC`; it can be resumed where it is fetched to."""

import shutil
from pathlib import Path
from typing import Final

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.redaction import redact_target
from mg_tui.runs import checkpoint_format
from mg_tui.runs.folder import RUNS_FOLDER, RunFolder
from mg_tui.watching.copying import CopyFailed, CopyTarget
from mg_tui.watching.targets import open_target

_UNFINISHED: Final = ".fetching-"


def list_copies(source: str) -> list[str]:
    """The ids of the runs that were copied to a destination of `--sync`.

    Raises:
        UsageError: it cannot be used on this machine.
        EnvironmentProblem: it cannot be read.
    """
    target = open_target(source, "")
    try:
        names = target.names("")
    except CopyFailed as error:
        raise _unreadable(source, error) from None
    return sorted({name.split("/")[0] for name in names if name.endswith("/events.jsonl")})


def fetch_run(source: str, home: Path) -> RunFolder:
    """Copy a run back under `home`; a fetch that was cut is resumed by the next one.

    Args:
        source: a destination of `--sync` with the run's id, or one that has a single run.
        home: the home folder.

    Raises:
        UsageError: there is no run, there are several, or it is here already.
        EnvironmentProblem: it cannot be read, or written here.
    """
    place, _, run = source.rstrip("/").rpartition("/")
    target = open_target(place or "/", run) if place else open_target(source, "")
    names = _names(target, source)
    if "events.jsonl" not in names:
        copies = list_copies(source)
        if len(copies) == 1:
            return fetch_run(f"{source.rstrip('/')}/{copies[0]}", home)
        raise UsageError(
            "There are several runs." if copies else "There is no copy of a run.",
            where=redact_target(source),
            hint=f"name one: {', '.join(copies[:6])}" if copies else "name the destination of --sync",
        )
    folder = RunFolder(home / RUNS_FOLDER / run)
    if folder.path.exists():
        raise UsageError(f"Run {run} is here already.", where=str(folder.path))
    unfinished = folder.path.with_name(f"{_UNFINISHED}{run}")
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
        target.get("", names, unfinished)
        _complete(RunFolder(unfinished))
        unfinished.rename(folder.path)
    except CopyFailed as error:
        raise _unreadable(source, error) from None
    except OSError as error:
        raise EnvironmentProblem("Cannot write the run.", where=str(unfinished), why=error.strerror) from error
    return folder


def _names(target: CopyTarget, source: str) -> list[str]:
    try:
        names = target.names("")
    except CopyFailed as error:
        raise _unreadable(source, error) from None
    # The journal last, as when it was copied: a fetch that was cut is not a run yet.
    return sorted((name for name in names if _is_safe(name)), key=lambda name: (name == "events.jsonl", name))


def _is_safe(name: str) -> bool:
    """Whether a name stays within the folder."""
    return not name.startswith("/") and ".." not in name.split("/")


def _complete(folder: RunFolder) -> None:
    """Make what a run's folder has on every machine, and remove checkpoints that are not whole."""
    for part in (folder.control_dir, folder.checkpoints_dir, folder.samples_dir):
        part.mkdir(exist_ok=True)
    folder.lock_file.touch()
    folder.log_file.touch()
    for checkpoint in checkpoint_format.list_checkpoints(folder.checkpoints_dir):
        if checkpoint_format.find_problem(checkpoint) is not None:
            shutil.rmtree(checkpoint)


def _unreadable(source: str, error: CopyFailed) -> EnvironmentProblem:
    return EnvironmentProblem("The copy cannot be read.", where=redact_target(source), why=str(error))
