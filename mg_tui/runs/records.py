"""Records in a RunView: evaluations, samples, checkpoints, warnings and decisions of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from mg_tui.runs.series import to_float


@dataclass(frozen=True, slots=True)
class LossEvaluation:
    """An evaluation after `step` optimizer steps.

    Attributes:
        step: optimizer steps done.
        loss: mean per supervised token.
        seconds: of the whole evaluation.
        examples: number of held-out examples.
        metrics: scores of the answers to them by metric; empty when none were asked for.
    """

    step: int
    loss: float
    seconds: float
    examples: int
    metrics: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_event(cls, data: Mapping[str, Any]) -> Self:
        """From an event."""
        return cls(
            optional_int(data.get("step")) or 0,
            to_float(data.get("loss")),
            to_float(data.get("seconds")),
            optional_int(data.get("examples")) or 0,
            read_scores(data.get("metrics")),
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
    def from_event(cls, data: Mapping[str, Any]) -> Self:
        """From an event."""
        return cls(
            step=optional_int(data.get("step")) or 0,
            row=optional_int(data.get("row")),
            image=optional_text(data.get("image")),
            prompt=str(data.get("prompt", "")),
            answer=str(data.get("answer", "")),
            expected=optional_text(data.get("expected")),
        )


@dataclass(frozen=True, slots=True)
class SavedCheckpoint:
    """A complete checkpoint; `path` is relative to the run's folder. `eval_loss` and `eval_metrics` are the scores at
    its step, and `best` whether the one named `best_by` was the best so far."""

    step: int
    path: str
    bytes: int
    seconds: float
    eval_loss: float | None = None
    best: bool = False
    eval_metrics: Mapping[str, float] = field(default_factory=dict)
    best_by: str = "loss"

    @classmethod
    def from_event(cls, data: Mapping[str, Any]) -> Self:
        """From an event."""
        return cls(
            optional_int(data.get("step")) or 0,
            str(data.get("path", "")),
            optional_int(data.get("bytes")) or 0,
            to_float(data.get("seconds")),
            None if data.get("eval_loss") is None else to_float(data["eval_loss"]),
            data.get("best") is True,
            read_scores(data.get("eval_metrics")),
            str(data.get("best_by") or "loss"),
        )


@dataclass(frozen=True, slots=True)
class RunWarning:
    """A warning, and how often it was repeated in a row."""

    t: float
    what: str
    where: str | None = None
    why: str | None = None
    hint: str | None = None
    times: int = 1


@dataclass(frozen=True, slots=True)
class Decision:
    """A choice made automatically."""

    what: str
    value: Any
    why: str


def read_scores(value: Any) -> dict[str, float]:
    """Scores by metric from an event; what is no score is left out."""
    items = value.items() if isinstance(value, Mapping) else ()
    return {str(name): to_float(score) for name, score in items if isinstance(score, int | float | str)}


def optional_text(value: Any) -> str | None:
    """`value` as text; None stays None."""
    return None if value is None else str(value)


def optional_int(value: Any) -> int | None:
    """A whole number from an event, or None."""
    return int(value) if isinstance(value, int | float) and value == value and abs(value) < 1e18 else None
