"""Tasks, grouped in pieces, and the report of a task. Imports no torch.

A task is a function that runs in a process of its own and reports values as soon as it has them, so that they survive
if it crashes, hangs or runs out of time.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


class TaskSkipped(Exception):
    """A task does not apply on this machine; the message is the reason."""


@dataclass(frozen=True, slots=True)
class BenchmarkSetting:
    """Arguments of every task.

    Attributes:
        dry: run on a CPU, with minimal models and shapes.
        size: the model of the measurements: "3B", "7B", or "tiny" in a dry run.
        scratch: folder for files that tasks write and share.
    """

    dry: bool
    size: str
    scratch: Path

    @property
    def device(self) -> str:
        """torch's name of the device."""
        return "cpu" if self.dry else "cuda:0"

    def require_cuda(self) -> None:
        """Raises TaskSkipped on a CPU."""
        if self.dry:
            raise TaskSkipped("needs CUDA")

    def to_json(self) -> str:
        """For a process that is started without a fork."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "BenchmarkSetting":
        """The inverse of `to_json`."""
        values: Mapping[str, Any] = json.loads(text)
        return cls(values["dry"], values["size"], Path(values["scratch"]))


class TaskReport:
    """Receives the values of a task.

    Args:
        send: called with one JSON value at a time.
        deadline: when the task should end by itself, by `time.monotonic`.
    """

    def __init__(self, send: Callable[[Any], None], deadline: float):
        self._send = send
        self._deadline = deadline

    def put(self, **values: Any) -> None:
        """Report values by name."""
        self._send({"put": values})

    def add(self, name: str, item: Any) -> None:
        """Append an item to the list of this name."""
        self._send({"add": name, "item": item})

    def seconds_left(self) -> float:
        """Seconds until the task should end by itself."""
        return self._deadline - time.monotonic()


def merge_message(values: dict[str, Any], message: Mapping[str, Any]) -> None:
    """Apply a message of `TaskReport` to the values reported before."""
    if "put" in message:
        values.update(message["put"])
    elif "add" in message:
        values.setdefault(message["add"], []).append(message["item"])


@dataclass(frozen=True, slots=True)
class Task:
    """One process: its name, its function, and its share of the time of its piece."""

    name: str
    run: Callable[[TaskReport, BenchmarkSetting], None]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Piece:
    """Tasks under one title. `seconds` is its share of the total time, `parallel` how many tasks run at once."""

    key: str
    title: str
    seconds: float
    tasks: tuple[Task, ...]
    parallel: int = 1
