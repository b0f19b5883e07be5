"""What a RunView holds: evaluations, samples, checkpoints, warnings and decisions of a run."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation after `step` optimizer steps: mean loss of a supervised token, seconds it took, examples in it."""

    step: int
    loss: float
    seconds: float
    examples: int


@dataclass(frozen=True, slots=True)
class Sample:
    """A generation made while training; `image` is a path or None."""

    step: int
    row: int | None
    image: str | None
    prompt: str
    answer: str
    expected: str | None


@dataclass(frozen=True, slots=True)
class SavedCheckpoint:
    """A whole checkpoint; `path` is relative to the run's folder. `eval_loss` is of an evaluation at its step, and
    `best` whether that was the lowest by then."""

    step: int
    path: str
    bytes: int
    seconds: float
    eval_loss: float | None = None
    best: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning, and how often it came in a row."""

    t: float
    what: str
    where: str | None = None
    why: str | None = None
    hint: str | None = None
    times: int = 1


@dataclass(frozen=True, slots=True)
class Decision:
    """Something that was chosen for the user."""

    what: str
    value: Any
    why: str


def text(value: Any) -> str | None:
    """`value` as text; None stays None."""
    return None if value is None else str(value)


def whole(value: Any) -> int | None:
    """A whole number from an event, or None."""
    return int(value) if isinstance(value, int | float) and value == value and abs(value) < 1e18 else None
