"""A container that is started again, by its restart policy or by hand, resumes its run instead of starting another.

Only with `MODEL_GARDEN_RUNS_RESUME_INTERRUPTED=true`, and only if the container's command is `train-vision`; every
other command is repeated. A file per container and command on the volume says that it has been started before, and
with what status it ended. The container is known by its host name, which docker keeps over restarts.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

TRUE = ("1", "true", "yes", "on")
COMMAND = "train-vision"
RESUMED = ("goes on", "waits again")  # what `runs wake --json` says of runs that it has queued


class Plan(NamedTuple):
    """The command to run instead, and what to say about that; the command as it is, and nothing."""

    command: list[str]
    message: str = ""


class Starts:
    """The record of one container's starts; does nothing if it is not to resume."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], host: str) -> None:
        wanted = environment.get("MODEL_GARDEN_RUNS_RESUME_INTERRUPTED", "").lower() in TRUE
        self.command = list(command)
        self.file: Path | None = None
        if wanted and COMMAND in command[1:2]:
            key = hashlib.sha256(json.dumps([host, *command]).encode()).hexdigest()[:16]
            self.file = Path(environment.get("MODEL_GARDEN_HOME", "/data"), "containers", key)

    def plan(self) -> Plan:
        """What to run now. A first start, or one after a failure with nothing to resume, runs the command itself."""
        before = self._read()
        self._write("started")
        if before is None:
            return Plan(self.command)
        if resumed := wake(self.command[0]):
            verb = "resumes" if len(resumed) == 1 else "resume"
            return Plan(
                [self.command[0], "runs", "watch", resumed[-1]],
                f"This container was started again: {', '.join(resumed)} {verb}, and no second run is started.",
            )
        if before == "0":
            return Plan(
                ["sleep", "infinity"],
                "This container was started again and its run has finished, so nothing is left to do: stop it, and "
                "give it the restart policy `on-failure`.",
            )
        return Plan(self.command)

    def ended(self, status: int) -> None:
        """Record the command's exit status."""
        self._write(str(status))

    def _read(self) -> str | None:
        if self.file is not None:
            with contextlib.suppress(OSError, UnicodeDecodeError):
                return self.file.read_text()
        return None

    def _write(self, text: str) -> None:
        if self.file is not None:
            with contextlib.suppress(OSError):  # the start checks name a volume that cannot be written to
                self.file.parent.mkdir(parents=True, exist_ok=True)
                part = self.file.with_suffix(f".{os.getpid()}")
                part.write_text(text)
                part.replace(self.file)


def wake(program: str) -> list[str]:
    """Queue what was interrupted and what was queued; the ids of these runs, oldest first."""

    def unblock() -> None:
        """Process 1 blocks the signals that it waits for; a waiter must receive them."""
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    try:
        done = subprocess.run(
            [program, "runs", "wake", "--json"], stdout=subprocess.PIPE, text=True, check=False, preexec_fn=unblock
        )
        return sorted(str(run["id"]) for run in json.loads(done.stdout) if run["what"] in RESUMED)
    except (OSError, ValueError, KeyError, TypeError):
        return []
