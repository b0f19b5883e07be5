"""Hands a job's file to the program of its launcher: `sbatch`, or `sky jobs launch`."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mg_tui.core.errors import EnvironmentProblem, RunFailed
from mg_tui.core.files import write_atomic
from mg_tui.core.text import one_line

LAUNCHED_FOLDER: Final = "launched"
_INSTALL: Final = {
    "sbatch": "run this on a login node of the cluster, or install Slurm's client (Debian: apt install slurm-client)",
    "sky": "uv tool install 'skypilot[aws]' (or another cloud), then `sky check`",
}
_SECONDS: Final = 600.0  # `sky jobs launch` may upload the working directory


def require_program(name: str) -> str:
    """The path of a launcher's program.

    Raises:
        EnvironmentProblem: it is not installed.
    """
    found = shutil.which(name)
    if found is None:
        raise EnvironmentProblem(
            f"The program {name} is not on this machine.",
            why="it submits the job",
            hint=f"{_INSTALL[name]}; --print shows the file instead",
        )
    return found


def write_job_file(home: Path, name: str, text: str) -> Path:
    """Write a job's file below the home folder, where it stays.

    Raises:
        EnvironmentProblem: it cannot be written.
    """
    path = home / LAUNCHED_FOLDER / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text.encode())
    except OSError as error:
        raise EnvironmentProblem("Cannot write the job's file.", where=str(path), why=error.strerror) from error
    return path


def submit_slurm(file: Path) -> str:
    """Submit an sbatch file; returns the job's id.

    Raises:
        EnvironmentProblem: `sbatch` is not installed.
        RunFailed: it refused the job.
    """
    said = _call([require_program("sbatch"), "--parsable", str(file)])
    return said.strip().split(";")[0]


def submit_skypilot(file: Path, name: str) -> None:
    """Launch a managed job, without waiting for it.

    Raises:
        EnvironmentProblem: `sky` is not installed.
        RunFailed: it refused the job.
    """
    _call([require_program("sky"), "jobs", "launch", "--yes", "--detach-run", "--name", name, str(file)])


def slurm_state(job: str) -> str | None:
    """The state of a Slurm job (PENDING, RUNNING, ...); None when the cluster does not have it any more."""
    try:
        done = subprocess.run(
            ["squeue", "--noheader", "--format=%T", f"--jobs={job}"], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return "UNKNOWN"
    return (done.stdout.strip() or None) if done.returncode == 0 else None


def _call(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except OSError as error:
        raise EnvironmentProblem(f"Cannot start {command[0]}.", why=error.strerror) from error
    except subprocess.TimeoutExpired:
        raise RunFailed(f"{Path(command[0]).name} did not answer within {_SECONDS:g} seconds.") from None
    if done.returncode != 0:
        last = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise RunFailed(
            f"{Path(command[0]).name} refused the job.",
            where=command[-1],
            why=one_line(last[-1], limit=300) if last else f"exit status {done.returncode}",
        )
    return done.stdout
