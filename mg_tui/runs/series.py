"""Curves of a run with bounded memory."""

from collections.abc import Mapping
from typing import Any, Final

MAX_POINTS: Final = 5_000
MAX_FIELDS: Final = 48  # fields of step events, beside the named curves, that are kept
NAN: Final = float("nan")


def to_float(value: Any) -> float:
    """A number from an event; "nan", "inf" and "-inf" are how the journal writes those, anything else is NaN."""
    if isinstance(value, int | float):
        return float(value)
    if value in ("nan", "inf", "-inf"):
        return float(value)
    return NAN


def is_number(value: Any) -> bool:
    """Whether a value of an event is a number, as the journal writes numbers."""
    return (isinstance(value, int | float) and not isinstance(value, bool)) or value in ("nan", "inf", "-inf")


def per_second(amount: Any, seconds: Any) -> float:
    """`amount` per second; NaN where either is unknown or the time is 0."""
    time = to_float(seconds)
    return to_float(amount) / time if time > 0 else NAN


class Series:
    """Curves over the optimizer steps: parallel lists, NaN where a step has no value. Nothing is averaged.

    Beyond `points` steps only every k-th is stored, k doubling as the run grows; the first and the newest always are.

    `fields` has every number of the step events by its name, up to `MAX_FIELDS` of them; only with `all_fields`, as a
    list of runs needs none of it.
    """

    def __init__(self, points: int = MAX_POINTS, *, all_fields: bool = False):
        self.fields: dict[str, list[float]] = {}
        self._all_fields = all_fields
        self._points = max(points, 8)
        self._stride = 1
        self.steps: list[int] = []
        self.times: list[float] = []
        self.loss: list[float] = []
        self.learning_rate: list[float] = []
        self.grad_norm: list[float] = []
        self.device_memory: list[float] = []
        self.host_memory: list[float] = []
        self.tokens_per_second: list[float] = []
        self.images_per_second: list[float] = []
        self.data_wait: list[float] = []

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def stride(self) -> int:
        """Minimum number of steps between two points (1: every step is stored)."""
        return self._stride

    def add(self, step: int, t: float, data: Mapping[str, Any]) -> None:
        """Add a step event's values; existing points at or after it, from before a resume, are dropped."""
        self.forget_after(step - 1)
        # The newest point is always stored, so the one before it is dropped if too close to its predecessor.
        if len(self.steps) > 1 and self.steps[-1] - self.steps[-2] < self._stride:
            self._pop()
        self.steps.append(step)
        self.times.append(t)
        seconds = data.get("seconds")
        for name in ("loss", "learning_rate", "grad_norm", "device_memory", "host_memory"):
            getattr(self, name).append(to_float(data.get(name)))
        self.tokens_per_second.append(per_second(data.get("tokens"), seconds))
        self.images_per_second.append(per_second(data.get("images"), seconds))
        self.data_wait.append(per_second(data.get("data_wait"), seconds))
        if self._all_fields:
            self._add_fields(data)
        while len(self.steps) > self._points:
            self._stride *= 2
            self._thin()

    def _add_fields(self, data: Mapping[str, Any]) -> None:
        for name, value in data.items():
            if name not in self.fields and name != "step" and is_number(value) and len(self.fields) < MAX_FIELDS:
                self.fields[name] = [NAN] * (len(self.steps) - 1)
        for name, values in self.fields.items():
            values.append(to_float(data.get(name)))

    def forget_after(self, step: int) -> None:
        """Drop the points after `step`: a resumed run repeats them."""
        while self.steps and self.steps[-1] > step:
            self._pop()

    def _columns(self) -> list[list[Any]]:
        return [
            self.steps,
            self.times,
            self.loss,
            self.learning_rate,
            self.grad_norm,
            self.device_memory,
            self.host_memory,
            self.tokens_per_second,
            self.images_per_second,
            self.data_wait,
            *self.fields.values(),
        ]

    def _pop(self) -> None:
        for column in self._columns():
            column.pop()

    def _thin(self) -> None:
        indices = [0]
        for index in range(1, len(self.steps)):
            if self.steps[index] - self.steps[indices[-1]] >= self._stride:
                indices.append(index)
        if indices[-1] != len(self.steps) - 1:
            indices.append(len(self.steps) - 1)
        for column in self._columns():
            column[:] = [column[index] for index in indices]
