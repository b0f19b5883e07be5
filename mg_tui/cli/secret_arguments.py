"""Keeps secrets on the command line out of the list of processes.

Everybody on a machine can read every command line. A URL of a notification service is a secret, and a command that
follows a run stays for hours. So a command line with one is replaced, by `exec`, with one that has `secret:0` in its
place; the value itself goes through a pipe. It was visible for the moment until then: a name of [notify] never is.
"""

import json
import os
import sys
from collections.abc import Sequence
from typing import Final

_OPTIONS: Final = ("--notify", "--sync", "--when-done")
_PREFIX: Final = "secret:"
_FD_ENV: Final = "MODEL_GARDEN_SECRETS_FD"
_HARMLESS: Final = ("stop", "terminate")


def hide_secrets() -> None:
    """Replace this process by itself with a command line without secrets, unless it has none."""
    found: list[str] = []
    arguments = _without_secrets(sys.orig_argv[1:], found)
    if not found or _FD_ENV in os.environ:
        return
    try:
        read, write = os.pipe()
        os.write(write, json.dumps(found).encode())  # far less than a pipe holds
        os.close(write)
        os.set_inheritable(read, True)
        os.execve(sys.executable, [sys.orig_argv[0], *arguments], {**os.environ, _FD_ENV: str(read)})
    except OSError:
        return  # visible, as it was


def reveal_secrets(arguments: Sequence[str]) -> list[str]:
    """The arguments of this process with the values that `hide_secrets` took out."""
    descriptor = os.environ.pop(_FD_ENV, None)
    if descriptor is None:
        return list(arguments)
    try:
        with os.fdopen(int(descriptor), "rb") as pipe:
            values = json.loads(pipe.read())
    except (OSError, ValueError):
        return list(arguments)
    return [_reveal(argument, values) for argument in arguments]


def _reveal(argument: str, values: Sequence[str]) -> str:
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    number = value.removeprefix(_PREFIX)
    if value.startswith(_PREFIX) and number.isdecimal() and int(number) < len(values):
        return f"{option}{equals}{values[int(number)]}"
    return argument


def _without_secrets(arguments: Sequence[str], found: list[str]) -> list[str]:
    """The arguments with placeholders; the values are added to `found`."""
    kept, expects = [], False
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if expects and _is_secret(argument):
            kept.append(_take(argument, found))
        elif equals and option in _OPTIONS and _is_secret(value):
            kept.append(f"{option}={_take(value, found)}")
        else:
            kept.append(argument)
        expects = argument in _OPTIONS
    return kept


def _take(value: str, found: list[str]) -> str:
    found.append(value)
    return f"{_PREFIX}{len(found) - 1}"


def _is_secret(value: str) -> bool:
    """Whether a value may be one: URLs and commands, not names, folders and actions."""
    return value not in _HARMLESS and ("://" in value or " " in value)
