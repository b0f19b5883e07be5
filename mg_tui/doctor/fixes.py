"""What `model-garden doctor --fix` changes: only what cannot harm, and only for this user."""

import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from mg_tui.core.errors import EnvironmentProblem, GardenError
from mg_tui.doctor.findings import MachineFinding

_SECONDS = 10.0


def apply_fixes(findings: Iterable[MachineFinding], home: Path, cache: Path) -> list[tuple[str, GardenError | None]]:
    """Apply the fix of every finding that has one; returns what was done, each with its error if it failed."""
    fixes: Mapping[str, tuple[str, Callable[[], None]]] = {
        "home": (f"made {home}", lambda: _make_folder(home)),
        "cache": (f"made {cache}", lambda: _make_folder(cache)),
        "linger": ("enabled lingering: processes of this user outlive the last logout", _enable_linger),
    }
    done: list[tuple[str, GardenError | None]] = []
    for name in dict.fromkeys(finding.fix for finding in findings if finding.fix is not None):
        text, fix = fixes[name]
        try:
            fix()
        except GardenError as error:
            done.append((text, error))
        else:
            done.append((text, None))
    return done


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentProblem("Cannot make the folder.", where=str(folder), why=error.strerror) from error


def _enable_linger() -> None:
    try:
        done = subprocess.run(
            ["loginctl", "enable-linger"], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentProblem("loginctl cannot be run.", why=str(error)) from error
    if done.returncode:
        raise EnvironmentProblem("loginctl failed.", why=done.stderr.strip() or f"exit code {done.returncode}")
