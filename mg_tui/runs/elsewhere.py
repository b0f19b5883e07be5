"""Runs on another machine whose folders are copied below a home of this one, so that every reader works as it is.

A folder alone does not say everything of a run: whether its worker is alive, where it really is. And whoever changes a
run must change the original. Both are asked of the `Elsewhere` that is registered for the home with the copies
(`mg_tui.remote`); of every other home this machine answers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mg_tui.core.errors import UsageError
from mg_tui.runs import heartbeat
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.lifetime import Lifetime, current_lifetime
from mg_tui.runs.lock import is_held

if TYPE_CHECKING:
    from mg_tui.hardware.types import DeviceSnapshot


class Elsewhere(Protocol):
    """The other machine. Methods that ask it raise `GardenError`, like the functions whose work they do there."""

    @property
    def address(self) -> str:
        """What a person knows it by."""

    @property
    def connected(self) -> bool:
        """Whether it was heard of lately."""

    def describe(self, now: float) -> str:
        """How it stands with the connection, on one line. `now`: Unix time in seconds."""

    @property
    def lifetime(self) -> Lifetime:
        """The boot and container of that machine."""

    def path_of(self, folder: RunFolder) -> str:
        """Where the original is."""

    def has_process(self, run_id: str) -> bool:
        """Whether a worker or a waiting process has the run."""

    def seconds_silent(self, run_id: str) -> float | None:
        """How long nothing has been heard from the worker, or from the machine; None when all is well."""

    def why_silent(self) -> str | None:
        """Why nothing is heard from the machine; None while it answers."""

    def wait_until_current(self) -> None:
        """Return when the copies are as new as the originals."""

    def want_log(self, run_id: str) -> None:
        """Somebody reads the log of this run now: copy it."""

    def wait_for_log(self, run_id: str) -> None:
        """The same, and return when the end of it is here, or the machine does not answer."""

    def sample_devices(self) -> "DeviceSnapshot | None":
        """The devices of that machine; None while it does not answer."""

    def stop(self, run_id: str, *, now: bool) -> tuple[str, bool, bool]:
        """Ask to stop: the request that was made, whether it was seen, and whether the run was queued."""

    def checkpoint(self, run_id: str) -> bool:
        """Ask for a checkpoint; whether that was seen."""

    def resume(
        self,
        run_id: str,
        *,
        at: str | None,
        from_start: bool,
        gpus: Sequence[str] | None,
        queue: bool,
        processes: int | None,
        max_cost: float | None,
    ) -> None:
        """Resume a run."""

    def set_held(self, run_id: str, held: bool) -> None:
        """Hold a queued run, or release it."""

    def move(self, run_id: str, position: int) -> int:
        """Move a queued run; its new position."""

    def annotate(self, run_id: str, values: dict[str, Any]) -> None:
        """Write name, note and tags."""

    def remove(self, run_id: str, *, permanently: bool) -> None:
        """Move a run to the trash."""

    def remove_checkpoint(self, run_id: str, step: int) -> None:
        """Delete a checkpoint."""

    def list_trash(self) -> list[tuple[str, str, float]]:
        """Removed runs, last removed first: id, path, and when."""

    def restore(self, run_id: str) -> None:
        """Bring a removed run back."""


_BY_HOME: dict[Path, Elsewhere] = {}


def register(home: Path, elsewhere: Elsewhere) -> None:
    """From now on the runs below `home` are copies of those of `elsewhere`."""
    _BY_HOME[home] = elsewhere


def forget(home: Path) -> None:
    """The runs below `home` are those of this machine again."""
    _BY_HOME.pop(home, None)


def elsewhere_at(home: Path) -> Elsewhere | None:
    """Where the runs below `home` really are; None for this machine."""
    return _BY_HOME.get(home) if _BY_HOME else None


def elsewhere_of(folder: RunFolder) -> Elsewhere | None:
    """Where a run really is; None for this machine."""
    return _BY_HOME.get(folder.home) if _BY_HOME else None


def require_here(folder: RunFolder, what: str) -> None:
    """Refuse what can only be done on the machine of a run.

    Raises:
        UsageError: it is on another one. `what`: a sentence's beginning, "starting its worker".
    """
    if (elsewhere := elsewhere_of(folder)) is not None:
        raise UsageError(f"{what} works on the machine of the run only.", where=elsewhere.address)


def has_process(folder: RunFolder) -> bool:
    """Whether a worker or a waiting process has a run.

    Raises:
        EnvironmentProblem: its lock cannot be checked.
    """
    elsewhere = elsewhere_of(folder)
    return is_held(folder.lock_file) if elsewhere is None else elsewhere.has_process(folder.id)


def lifetime_of(folder: RunFolder) -> Lifetime:
    """The boot and container of a run's machine."""
    elsewhere = elsewhere_of(folder)
    return current_lifetime() if elsewhere is None else elsewhere.lifetime


def seconds_silent(folder: RunFolder, now: float, *, has_heartbeat: bool) -> float | None:
    """How long a running worker has not responded, or nothing was heard of its machine; None when all is well."""
    elsewhere = elsewhere_of(folder)
    if elsewhere is not None:
        return elsewhere.seconds_silent(folder.id)
    return heartbeat.seconds_silent(folder.lock_file, now) if has_heartbeat else None


def explain_silence(folder: RunFolder, pid: int | None, host: str | None) -> str:
    """Why nothing is heard of a running run, as far as it can be seen from here."""
    elsewhere = elsewhere_of(folder)
    why = None if elsewhere is None else elsewhere.why_silent()
    return why or heartbeat.explain_silence(None if elsewhere is not None else pid, host)


def want_log(folder: RunFolder) -> None:
    """Somebody reads a run's log now; to be repeated every few seconds."""
    if (elsewhere := elsewhere_of(folder)) is not None:
        elsewhere.want_log(folder.id)


def wait_for_log(folder: RunFolder) -> None:
    """Return when the end of a run's log can be read here."""
    if (elsewhere := elsewhere_of(folder)) is not None:
        elsewhere.wait_for_log(folder.id)


def path_of(folder: RunFolder) -> str:
    """Where a run really is."""
    elsewhere = elsewhere_of(folder)
    return str(folder.path) if elsewhere is None else elsewhere.path_of(folder)
