"""What a RunView holds: evaluations, samples, checkpoints, warnings and decisions of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from mg_tui.runs.series import number


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation after `step` optimizer steps: mean loss of a supervised token, seconds it took, examples in it."""

    step: int
    loss: float
    seconds: float
    examples: int

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """From an event."""
        return cls(
            whole(data.get("step")) or 0,
            number(data.get("loss")),
            number(data.get("seconds")),
            whole(data.get("examples")) or 0,
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """A generation made while training; `image` is a path or None."""

    step: int
    row: int | None
    image: str | None
    prompt: str
    answer: str
    expected: str | None

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """From an event."""
        return cls(
            step=whole(data.get("step")) or 0,
            row=whole(data.get("row")),
            image=text(data.get("image")),
            prompt=str(data.get("prompt", "")),
            answer=str(data.get("answer", "")),
            expected=text(data.get("expected")),
        )


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

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """From an event."""
        return cls(
            whole(data.get("step")) or 0,
            str(data.get("path", "")),
            whole(data.get("bytes")) or 0,
            number(data.get("seconds")),
            None if data.get("eval_loss") is None else number(data["eval_loss"]),
            data.get("best") is True,
        )


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
