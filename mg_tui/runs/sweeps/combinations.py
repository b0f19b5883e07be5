"""The combinations of option values that a sweep tries: all of a grid, or some drawn at random."""

import itertools
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.errors import UsageError

if TYPE_CHECKING:
    from mg_tui.core.options import Option

MAX_COMBINATIONS: Final = 512
# What names a run or its folder, and what would happen to the machine after the first of many runs.
_NOT_SWEPT: Final = frozenset({"name", "output_dir", "notify", "sync", "when_done", "when_done_grace", "report_to"})
_DRAWS: Final = 200  # a combination, before it is taken that there are no more
_DIGITS: Final = 3  # significant ones of a number that is drawn


@dataclass(frozen=True, slots=True)
class Axis:
    """An option and what it is set to: `values` as given, or a range from `low` to `high` to draw from.

    `log` draws every order of magnitude equally often; `whole` draws whole numbers.
    """

    name: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    @property
    def is_range(self) -> bool:
        """Whether values are drawn between two bounds."""
        return not self.values

    def draw(self, chance: random.Random) -> Any:
        """One value."""
        if not self.is_range:
            return chance.choice(self.values)
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        drawn = chance.uniform(low, high)
        value = math.exp(drawn) if self.log else drawn
        if self.whole:
            return min(max(round(value), math.ceil(self.low)), math.floor(self.high))
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)

    def as_list(self) -> list[Any]:
        """Plain values, for JSON."""
        return [f"{self.low:g}..{self.high:g}{':log' if self.log else ''}"] if self.is_range else list(self.values)


def parse_over(texts: Iterable[str], options: Sequence["Option"]) -> tuple[Axis, ...]:
    """Axes from `--over learning_rate=1e-5,2e-5`, `--over lora_r=8..64` or `--over learning_rate=1e-5..1e-3:log`.

    Raises:
        UsageError: an option is unknown, cannot be swept, is given twice or has no values.
    """
    axes: dict[str, Any] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().removeprefix("--").replace("-", "_")
        if not equals or not values.strip():
            raise UsageError(
                f"over: got {text!r}; expected OPTION=VALUE,VALUE,...", hint="--over learning_rate=1e-5,2e-5"
            )
        if name in axes:
            raise UsageError(f"over: {name} is given twice", hint="give all its values at once, with commas")
        axes[name] = values
    return read_axes(axes, options)


def read_axes(over: Mapping[str, Any], options: Sequence["Option"]) -> tuple[Axis, ...]:
    """Axes from values by option: a list of values, or a text as after `--over OPTION=`. Raises as `parse_over`."""
    if not over:
        raise UsageError(
            "A sweep needs an option to vary.",
            hint="--over learning_rate=1e-5,2e-5,1e-4, or a table [over] in its file",
        )
    return tuple(_read_axis(name, values, options) for name, values in over.items())


def _read_axis(name: str, values: Any, options: Sequence["Option"]) -> Axis:
    from mg_tui.core.options import split_list, suggest_option

    option = next((each for each in options if each.name == name), None)
    if option is None:
        raise UsageError(f"over: {name} is not an option of train-vision{suggest_option(name, options)}")
    if name in _NOT_SWEPT:
        raise UsageError(f"over: {name} cannot be varied", why="it says nothing of what is trained")
    if isinstance(values, str) and ".." in values and option.kind in ("integer", "number"):
        return _read_range(name, values, whole=option.kind == "integer")
    items = split_list(values) if isinstance(values, str) else values
    if not isinstance(items, list | tuple) or not items:
        raise UsageError(f"over: {name} got {values!r}; expected values, e.g. {name} = [1, 2]")
    twice = [item for place, item in enumerate(items) if item in items[:place]]
    if twice:
        raise UsageError(f"over: {name} has the value {twice[0]} twice")
    return Axis(name, tuple(items))


def _read_range(name: str, text: str, *, whole: bool) -> Axis:
    bounds, colon, scale = text.strip().partition(":")
    low, _dots, high = bounds.partition("..")
    try:
        axis = Axis(name, (), float(low), float(high), log=scale.strip() == "log", whole=whole)
    except ValueError:
        raise UsageError(f"over: {name} got {text!r}; expected LOW..HIGH or LOW..HIGH:log") from None
    if (colon and not axis.log) or not (math.isfinite(axis.low) and math.isfinite(axis.high)) or axis.low >= axis.high:
        raise UsageError(f"over: {name} got {text!r}; expected LOW..HIGH or LOW..HIGH:log, LOW less than HIGH")
    if axis.log and axis.low <= 0:
        raise UsageError(f"over: {name} got {text!r}; a logarithmic range begins above 0")
    return axis


def combine(axes: Sequence[Axis], *, count: int | None = None, seed: int = 0) -> list[dict[str, Any]]:
    """The combinations: the whole grid, the last option varied fastest, or `count` different ones drawn by `seed`.

    Raises:
        UsageError: a range without `count`, too many combinations, or fewer than `count`.
    """
    if count is not None:
        return _draw(axes, count, seed)
    ranges = [axis.name for axis in axes if axis.is_range]
    if ranges:
        raise UsageError(f"over: {ranges[0]} has a range, not values", hint="add --random N to draw from it")
    total = math.prod(len(axis.values) for axis in axes)
    if total > MAX_COMBINATIONS:
        raise UsageError(
            f"The sweep has {total:,} combinations; at most {MAX_COMBINATIONS} are run.", hint="draw some: --random 20"
        )
    names = [axis.name for axis in axes]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*(axis.values for axis in axes))]


def _draw(axes: Sequence[Axis], count: int, seed: int) -> list[dict[str, Any]]:
    if not 1 <= count <= MAX_COMBINATIONS:
        raise UsageError(f"random: got {count}; give a whole number from 1 to {MAX_COMBINATIONS}")
    chance = random.Random(seed)
    found: list[dict[str, Any]] = []
    for _ in range(count * _DRAWS):
        drawn = {axis.name: axis.draw(chance) for axis in axes}
        if drawn not in found:
            found.append(drawn)
        if len(found) == count:
            return found
    raise UsageError(
        f"random: only {len(found)} different combinations were found, not {count}", hint=f"--random {len(found)}"
    )


def describe_values(values: Mapping[str, Any]) -> str:
    """`learning_rate 1e-05, lora_r 8`."""
    return ", ".join(f"{name} {format_value(value)}" for name, value in values.items())


def format_value(value: Any) -> str:
    """A value as text; numbers short."""
    if isinstance(value, float):
        return f"{value:g}"
    return {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)
