"""Engine programs that answer requests of a front end: a child process that reads and writes JSON lines.

    face -> child   {"op": "load", "model": "./models/mine"}
    child -> face   {"event": "notice", "text": "..."}          messages, for standard error
                    {"event": "ready", ...}                     the reply that ends the request
                    {"event": "error", "what": ..., "exit_code": 2, ...}   a GardenError; the child keeps running
                    {"event": "crash", "traceback": "..."}      a bug of ours; the child keeps running

A child has its own session, so that ctrl+c only reaches the front end; it exits when its standard input closes, so it
never outlives the front end.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, Self

from mg_tui.core.errors import DataError, EnvironmentProblem, FamilyError, GardenError, RunFailed, UsageError

_ERROR_CLASSES: Final[Mapping[str, type[GardenError]]] = {
    cls.__name__: cls for cls in (UsageError, DataError, FamilyError, EnvironmentProblem, RunFailed)
}
# Events that do not end a request.
INTERMEDIATE_EVENTS: Final = frozenset({"notice", "text", "progress"})


class EngineCrashed(Exception):
    """A bug in the child, with the child's own traceback as its text."""


class EngineProcess:
    """A running engine program, e.g. `mg_tui.engine.inference.generate`; as a context manager it ends the child."""

    def __init__(self, program: str, *, cwd: Path | None = None) -> None:
        # A file and not a pipe: it is only read after a failure, and a full pipe would block the child.
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            cwd=cwd,
            start_new_session=True,
            text=True,
            encoding="utf-8",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exception: object) -> None:
        # After an interrupt the user does not want to wait.
        self.close(0.1 if kind is not None and not issubclass(kind, Exception) else 2.0)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def send(self, op: str, **fields: Any) -> None:
        """Write one request without waiting for anything."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"op": op, **fields}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def stream(self, op: str, **fields: Any) -> Iterator[dict[str, Any]]:
        """Send a request and yield its events; the last one is the reply.

        Raises:
            GardenError: the child replied with an error.
            RunFailed: the child ended without a reply.
            EngineCrashed: a bug in the child.
        """
        self.send(op, **fields)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event: dict[str, Any] = json.loads(line)
            match event.get("event"):
                case "error":
                    raise error_from_record(event)
                case "crash":
                    raise EngineCrashed(str(event.get("traceback", "")))
                case name:
                    yield event
                    if name not in INTERMEDIATE_EVENTS:
                        return
        raise self._ended()

    def terminate(self) -> None:
        """Terminate the child without waiting; call `close` afterwards."""
        if self.alive:
            self._process.terminate()

    def close(self, patience: float = 2.0) -> None:
        """End the child: close its input, then terminate, then kill; waits `patience` seconds for each."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        for stronger in (self._process.terminate, self._process.kill, None):
            try:
                self._process.wait(patience)
                break
            except subprocess.TimeoutExpired:
                if stronger is not None:
                    stronger()
        self._process.stdout.close()
        self._stderr.close()

    def _ended(self) -> GardenError:
        """The error for a child that has exited: its exit status, and the end of its stderr."""
        code = self._process.wait()
        self._stderr.seek(0)
        lines = [line for line in self._stderr.read().decode("utf-8", "replace").splitlines() if line.strip()]
        ending = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        hint = "possibly out of memory" if code == -9 else None
        what = f"the engine process exited without a response ({ending})"
        return RunFailed(what, why="\n".join(lines[-5:]), hint=hint)


def error_from_record(record: Mapping[str, Any]) -> GardenError:
    """The error that `GardenError.as_dict` described, with the same exit code."""

    def text(name: str) -> str | None:
        value = record.get(name)
        return None if value is None else str(value)

    # The nearest known class: an ImageError comes back as its base class DataError.
    names = [str(record.get("error")), *record.get("kinds", ())]
    kind = next((_ERROR_CLASSES[name] for name in names if name in _ERROR_CLASSES), None)
    if kind is None:
        kind = {2: UsageError, 3: EnvironmentProblem}.get(int(record.get("exit_code", 1)), RunFailed)
    return kind(text("what") or "unknown error", where=text("where"), why=text("why"), hint=text("hint"))
