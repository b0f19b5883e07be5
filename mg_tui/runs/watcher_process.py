"""Starts the process that watches a run (`python -m mg_tui.watching FOLDER`), and says what it does."""

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import EnvironmentProblem, GardenError, UsageError
from mg_tui.runs import json_store, watch_request
from mg_tui.runs.detached import start_detached
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.lock import is_held
from mg_tui.runs.store import run_folders

PROGRAM: Final = "mg_tui.watching"


def start_watching(folder: Path) -> int:
    """Start the process that watches the run in `folder`, or every run of the home `folder`; returns its process id.

    Raises:
        EnvironmentProblem: it cannot be started.
    """
    folder = folder.absolute()
    try:
        fd = os.open(folder / watch_request.LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "ab") as log:
            return start_detached((sys.executable, "-P", "-m", PROGRAM, str(folder)), log=log, cwd=folder).pid
    except OSError as error:
        raise EnvironmentProblem("Cannot start watching.", where=str(folder), why=error.strerror) from error


def start_if_requested(folder: RunFolder) -> None:
    """Start the process that watches a run whose folder has a request, unless it runs. The run goes first: no error."""
    if (folder.path / watch_request.WATCH_FILE).exists() and not is_watched(folder.path):
        with contextlib.suppress(GardenError):
            start_watching(folder.path)


def restart_watchers(home: Path) -> None:
    """Start the watching processes that ended before they were done, with their machine for example."""
    for folder in run_folders(home):
        if (folder.path / watch_request.STATE_FILE).exists() and not read_watch_state(folder.path).get("done"):
            start_if_requested(folder)


def is_watched(folder: Path) -> bool:
    """Whether a process watches the run, or every run of the home, in `folder`."""
    with contextlib.suppress(GardenError):
        return is_held(folder / watch_request.LOCK_FILE)
    return False


def cancel_ending(folder: Path) -> None:
    """Cancel what happens when the run is done; messages and copies go on.

    Raises:
        UsageError: nothing happens, or no process watches the run.
        EnvironmentProblem: the folder cannot be written.
    """
    request = watch_request.read_watch_request(folder)
    if request is None or request.when_done is None:
        raise UsageError(f"Nothing happens when {folder.name} is done.")
    if not is_watched(folder):
        raise UsageError(f"{folder.name} is not watched.")
    try:
        (folder / watch_request.CANCEL_FILE).touch()
    except OSError as error:
        raise EnvironmentProblem("Cannot cancel it.", where=str(folder), why=error.strerror) from error


def read_watch_state(folder: Path) -> dict[str, Any]:
    """What the watching process wrote last, or {}."""
    return json_store.load(folder / watch_request.STATE_FILE)


def describe_watching(folder: Path) -> list[str]:
    """What is done around a run, a line each; empty where nothing is."""
    request, state = watch_request.read_watch_request(folder), read_watch_state(folder)
    if request is None or not request:
        return []
    lines = []
    for label in request.notify:
        channel = _record(_record(state, "channels"), label)
        sent, why = int(channel.get("sent", 0)), channel.get("problem")
        waiting = sum(entry.get("channel") == label for entry in state.get("outbox", []) if isinstance(entry, dict))
        text = f"notify {label}: {sent} sent" + (f", {waiting} waiting" if waiting else "")
        lines.append(text + (f" ({why})" if why else ""))
    if request.sync is not None:
        sync = _record(state, "sync")
        text = str(sync.get("text") or "nothing copied yet")
        lines.append(f"sync {request.sync_label}: {text}" + (f" ({sync['problem']})" if sync.get("problem") else ""))
    if request.when_done is not None:
        ending = _record(state, "ending")
        at, text = ending.get("at"), str(ending.get("text") or "waits for the end of the run")
        if isinstance(at, int | float) and not ending.get("over"):
            text = f"in {max(at - time.time(), 0):.0f} s unless cancelled"
        lines.append(f"when done {request.when_done_label}: {text}")
    if not state.get("done") and not is_watched(folder):
        lines.append("no process watches it; `model-garden watch` starts one")
    return lines


def _record(values: dict[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}
