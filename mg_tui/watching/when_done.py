"""What happens when a run is done: the rented machine is stopped or terminated, or a command is run.

Machines are those of RunPod and Vast, which tell a container its own id and a key for it; their documented HTTP
interfaces are called, so that no program of theirs has to be installed:

    RunPod  RUNPOD_POD_ID, RUNPOD_API_KEY      POST /v1/pods/ID/stop, DELETE /v1/pods/ID
    Vast    CONTAINER_ID, CONTAINER_API_KEY    PUT /api/v0/instances/ID/ {"state": "stopped"}, DELETE

A command is split into words and started without a shell; `sh -c '...'` is a command too.
"""

import os
import shlex
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mg_tui.core.errors import UsageError
from mg_tui.core.text import one_line
from mg_tui.runs.watch_request import ACTIONS

COMMAND_SECONDS: Final = 300.0
_HTTP_SECONDS: Final = 30.0
_RUNPOD: Final = "https://rest.runpod.io"
_VAST: Final = "https://console.vast.ai"
# What a shell would act on, outside of quotes; such a string would do something else than its author expects.
_SHELL_SYNTAX: Final = frozenset("|&;<>$`\n()")

Action = Literal["stop", "terminate"]


class EndingFailed(Exception):
    """The machine could not be stopped, or the command failed; the text says why."""


@dataclass(frozen=True, slots=True)
class RentedMachine:
    """A rented machine: its provider, id, key, and where its interface is."""

    provider: Literal["RunPod", "Vast"]
    id: str
    key: str
    address: str

    def request(self, action: Action) -> tuple[str, str, dict[str, str] | None]:
        """Method, URL and JSON body that stop or terminate it."""
        if self.provider == "RunPod":
            place = f"{self.address}/v1/pods/{self.id}"
            return ("POST", f"{place}/stop", None) if action == "stop" else ("DELETE", place, None)
        place = f"{self.address}/api/v0/instances/{self.id}/"
        return ("PUT", place, {"state": "stopped"}) if action == "stop" else ("DELETE", place, None)


def find_machine(environ: Mapping[str, str]) -> RentedMachine | None:
    """The rented machine that this is, by the variables that its provider sets; None for any other."""
    if environ.get("RUNPOD_POD_ID") and environ.get("RUNPOD_API_KEY"):
        return RentedMachine("RunPod", environ["RUNPOD_POD_ID"], environ["RUNPOD_API_KEY"], _RUNPOD)
    if environ.get("CONTAINER_ID") and environ.get("CONTAINER_API_KEY"):
        return RentedMachine("Vast", environ["CONTAINER_ID"], environ["CONTAINER_API_KEY"], _VAST)
    return None


def require_possible(when_done: str, *, synced: bool, environ: Mapping[str, str]) -> None:
    """Refuse at the start what cannot be done at the end, or would lose the result.

    Raises:
        UsageError: there is no such machine, program or syntax, or `terminate` without a copy elsewhere.
    """
    if when_done in ACTIONS:
        if find_machine(environ) is None:
            raise UsageError(
                f"when_done: {when_done} needs a machine of RunPod or Vast",
                why="neither RUNPOD_POD_ID and RUNPOD_API_KEY nor CONTAINER_ID and CONTAINER_API_KEY are set",
                hint="give a command, e.g. --when-done 'sudo shutdown -h now'; over SSH, see docs/watching.md",
            )
        if when_done == "terminate" and not synced:
            raise UsageError(
                "when_done: terminate deletes this machine's disk, and with it the result",
                hint="add --sync DESTINATION, or give --when-done stop",
            )
        return
    split_command(when_done)


def split_command(command: str) -> list[str]:
    """The words of a command.

    Raises:
        UsageError: there is none, quotes are open, or it has syntax of a shell outside of quotes.
    """
    import shutil

    lexer = shlex.shlex(command, posix=True, punctuation_chars="".join(_SHELL_SYNTAX - {"\n"}))
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        pieces = list(lexer)
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError("when_done: the command cannot be split into words", why=str(error)) from None
    if not words:
        raise UsageError("when_done: the command is empty", hint="give stop, terminate or a command")
    if any(piece and set(piece) <= _SHELL_SYNTAX for piece in pieces) or "\n" in command:
        raise UsageError(
            "when_done: the command is started without a shell, and has syntax of one",
            hint="put it in quotes after sh -c: --when-done \"sh -c 'first && second'\"",
        )
    if shutil.which(words[0]) is None:
        raise UsageError(f"when_done: the program {one_line(words[0], limit=60)!r} is not found")
    return words


def describe(when_done: str, environ: Mapping[str, str]) -> str:
    """What would happen, without keys: for a dry run."""
    if when_done not in ACTIONS:
        return f"the command {shlex.join(split_command(when_done))} would be run, for at most {COMMAND_SECONDS:.0f} s"
    machine = find_machine(environ)
    if machine is None:
        return f"nothing: no machine of RunPod or Vast to {when_done}"
    method, url, body = machine.request("stop" if when_done == "stop" else "terminate")
    return f"{when_done} {machine.provider} {machine.id}: {method} {url}" + (f" {body}" if body else "")


def end(when_done: str, environ: Mapping[str, str], facts: Mapping[str, str], *, cwd: Path) -> str:
    """Do it; returns what was done, in words.

    Args:
        facts: variables for the command: MODEL_GARDEN_RUN, MODEL_GARDEN_STATE, MODEL_GARDEN_RESULT.
        cwd: where a command runs.

    Raises:
        EndingFailed: it failed.
    """
    if when_done in ACTIONS:
        machine = find_machine(environ)
        if machine is None:
            raise EndingFailed("the variables of RunPod or Vast are no longer set")
        return call_provider(machine, "stop" if when_done == "stop" else "terminate")
    return run_command(when_done, {**environ, **facts}, cwd=cwd)


def call_provider(machine: RentedMachine, action: Action) -> str:
    """Ask the provider to stop or terminate a machine.

    Raises:
        EndingFailed: it did not answer, or refused.
    """
    import httpx

    method, url, body = machine.request(action)
    headers = {"Authorization": f"Bearer {machine.key}"}
    try:
        response = httpx.request(method, url, headers=headers, json=body, timeout=_HTTP_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = one_line(str(error) or type(error).__name__, limit=200).replace(machine.key, "…")
        raise EndingFailed(f"{machine.provider} cannot be reached: {why}") from None
    if not response.is_success:
        text = one_line(response.text, limit=200).replace(machine.key, "…")
        raise EndingFailed(f"{machine.provider} answers HTTP {response.status_code}: {text}")
    return f"{machine.provider} was asked to {action} {machine.id}"


def run_command(command: str, environ: Mapping[str, str], *, cwd: Path, seconds: float = COMMAND_SECONDS) -> str:
    """Run a command in a process group of its own, which is killed after `seconds`.

    Raises:
        EndingFailed: it cannot be started, failed, or took too long.
    """
    try:
        words = split_command(command)
    except UsageError as error:
        raise EndingFailed(error.what) from None
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environ),
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        raise EndingFailed(f"the command cannot be started: {error.strerror}") from None
    try:
        output, _none = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise EndingFailed(f"the command did not end within {seconds:.0f} s and was killed") from None
    last = one_line(output.decode(errors="replace").strip().rpartition("\n")[2], limit=200)
    if process.returncode:
        raise EndingFailed(f"the command ended with {process.returncode}" + (f": {last}" if last else ""))
    return "the command was run"
