"""Records in a RunView: evaluations, samples, checkpoints, warnings and decisions of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final, Self

from mg_tui.core.text import format_gib
from mg_tui.runs.series import to_float

SILENT_RANK_SECONDS: Final = 5.0  # a rank says something every second


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
class RankState:
    """How one of several training processes was at an event.

    Attributes:
        rank: its number.
        pid: its process.
        step: the step it was in.
        doing: its last word.
        seconds: of its share of the last step, without waiting; None before there was one.
        memory: bytes of its device, or of the host where it has none.
        utilization: percent of its GPU, or of one core.
        silent: seconds since it said so.
    """

    rank: int
    pid: int | None
    step: int
    doing: str
    seconds: float | None
    memory: int | None
    utilization: float | None
    silent: float | None

    @classmethod
    def from_record(cls, data: Mapping[str, Any]) -> Self:
        """From an item of a `ranks` event."""
        numbers = {name: _optional_number(data.get(name)) for name in ("seconds", "utilization", "silent")}
        return cls(
            rank=optional_int(data.get("rank")) or 0,
            pid=optional_int(data.get("pid")),
            step=optional_int(data.get("step")) or 0,
            doing=str(data.get("doing", "")),
            memory=optional_int(data.get("device_memory")) or optional_int(data.get("host_memory")),
            **numbers,
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


def read_ranks(value: Any) -> tuple[RankState, ...]:
    """The processes of a `ranks` event; items that are none are left out."""
    items = value if isinstance(value, list) else []
    return tuple(RankState.from_record(item) for item in items if isinstance(item, dict))


def _optional_number(value: Any) -> float | None:
    number = to_float(value) if value is not None else None
    return number if number is not None and isfinite(number) else None


def describe_rank(state: RankState, ranks: Sequence[RankState]) -> list[str]:
    """What there is to say of one of several training processes, in words; texts may hold any character.

    `ranks`: all of them; the step and the time of the fastest are what it is compared with.
    """
    behind = max(other.step for other in ranks) - state.step
    parts = [f"step {state.step}" + (f" ({behind} behind)" if behind else ""), state.doing]
    if state.seconds is not None:
        fastest = min(other.seconds for other in ranks if other.seconds is not None)
        more = state.seconds - fastest
        parts.append(f"{state.seconds:.2f} s" + (f" (+{more:.2f})" if more >= 0.005 else ""))
    if state.memory is not None:
        parts.append(format_gib(state.memory))
    if state.utilization is not None:
        parts.append(f"{state.utilization:.0f} %")
    if state.silent is not None and state.silent >= SILENT_RANK_SECONDS:
        parts.append(f"silent for {state.silent:.0f} s")
    return [part for part in parts if part]
