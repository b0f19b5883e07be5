"""What `model-garden api` does before it listens: roots, tokens that are not lent, queued runs woken."""

import sys
from collections.abc import Sequence
from pathlib import Path

from mg_tui.api.app import create_gate
from mg_tui.api.garden import Garden
from mg_tui.api.paths import AllowedPaths
from mg_tui.api.uploads import UploadStore
from mg_tui.config import Settings
from mg_tui.core.errors import GardenError, UsageError
from mg_tui.gate import Gate, Listener
from mg_tui.runs import control, launch
from mg_tui.runs.caller_bounds import hide_own_tokens
from mg_tui.runs.evaluations import EvaluationFolder
from mg_tui.runs.folder import RunFolder, remove_unfinished
from mg_tui.runs.interrupted import resume_interrupted
from mg_tui.runs.model_jobs import ModelJobFolder
from mg_tui.runs.queue import restart_waiters
from mg_tui.runs.servers import ServerFolder
from mg_tui.runs.sweeps.driver import restart_drivers


def make_server(
    settings: Settings, listener: Listener, *, roots: Sequence[Path] = (), own_tokens: bool = False
) -> Gate:
    """The API of a home folder, ready to be served; queued runs without a waiting process get one.

    Args:
        settings: the settings.
        listener: where it will listen.
        roots: folders that callers may read and write; the working directory by default.
        own_tokens: keep this user's Hugging Face and Weights & Biases tokens in the environment of callers' runs.

    Raises:
        UsageError: a root is no folder, or the working directory is too much to share.
    """
    cwd = Path.cwd()
    chosen = [root.absolute() for root in roots] or [_default_root(cwd)]
    for root in chosen:
        if not root.is_dir():
            raise UsageError("--root: not a folder", where=str(root))
    UploadStore(settings.home).remove_leftovers()
    remove_unfinished(settings.home, (RunFolder, EvaluationFolder, ModelJobFolder, ServerFolder))
    garden = Garden(settings, AllowedPaths(chosen, cwd, settings.home), own_tokens=own_tokens)
    _wake_queue(settings)  # before the tokens are hidden: runs of this user's own may need them
    if not own_tokens:
        hide_own_tokens()
    return create_gate(garden, listener)


def _default_root(cwd: Path) -> Path:
    if Path.home().resolve().is_relative_to(cwd.resolve()):
        raise UsageError(
            "Callers would be able to read your whole home folder.",
            where=str(cwd),
            hint="start it in a project's folder, or give --root FOLDER",
        )
    return cwd


def _wake_queue(settings: Settings) -> None:
    try:
        if settings.resume_interrupted:
            resume_interrupted(settings.home, control.requester("resume_interrupted"))
        restart_drivers(settings.home)
        restart_waiters(settings.home, launch.start_waiter)
    except GardenError as error:
        sys.stderr.write(f"the queue could not be restarted: {error.what}\n")
