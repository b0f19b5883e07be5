"""Runs other programs: their output goes into a log, is told line by line, and their last words into an error."""

import contextlib
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from mg_tui.core.errors import EnvironmentProblem, RunFailed
from mg_tui.core.text import one_line

_LAST_LINES: Final = 5
_ERROR_MARKS: Final = ("error:", "Error:", "Error ", "FAILED", "not found")


def run_program(
    command: Sequence[str | Path],
    what: str,
    *,
    log: Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
    hint: str | None = None,
    accepted: Sequence[int] = (0,),
) -> None:
    """Run a program to its end; one that is left by an exception is ended, with all that it started.

    Args:
        command: its words.
        what: what failed if it fails, e.g. "llama.cpp could not be compiled".
        log: a file that all output is appended to.
        environment: variables to add; a value of "" removes one.
        on_line: called with every line of the output.
        hint: what to try then.
        accepted: exit codes that are no failure.

    Raises:
        EnvironmentProblem: the program cannot be started.
        RunFailed: it fails; with its last words.
    """
    variables = {**os.environ, **(environment or {})}
    variables = {name: value for name, value in variables.items() if value or name not in (environment or {})}
    last: deque[str] = deque(maxlen=200)
    with log.open("a", encoding="utf-8") as stream:
        stream.write(f"$ {' '.join(map(str, command))}\n")
        try:
            process = subprocess.Popen(
                [str(word) for word in command],
                cwd=cwd,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise EnvironmentProblem(what, where=str(command[0]), why=error.strerror or str(error), hint=hint) from None
        try:
            assert process.stdout is not None
            for line in process.stdout:
                stream.write(line)
                last.append(line.rstrip())
                if on_line is not None:
                    on_line(line.rstrip())
            code = process.wait()
        finally:
            _end(process)
    if code not in accepted:
        ending = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        raise RunFailed(what, where=str(log), why=f"{ending}: {last_words(last)}", hint=hint)


def last_words(lines: Sequence[str]) -> str:
    """The lines of an output that say most likely why a program failed, on one line."""
    filled = [line.strip() for line in lines if line.strip()]
    telling = [line for line in filled if any(mark in line for mark in _ERROR_MARKS)]
    return one_line(" | ".join((telling or filled)[-_LAST_LINES:]), limit=600) or "it said nothing"


def _end(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.stdout is not None:
        process.stdout.close()
