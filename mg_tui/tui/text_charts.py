"""Meters and sparklines in one line of text, and averaging of curves for the cells there are. Pure functions."""

from collections.abc import Sequence
from math import isfinite
from typing import Final

_SPARK_LEVELS: Final = "▁▂▃▄▅▆▇"  # without the full block: rows of sparklines stay apart
NAN: Final = float("nan")


def finite(values: Sequence[float]) -> Sequence[float]:
    """The finite values."""
    return values if isfinite(sum(values)) else [value for value in values if isfinite(value)]


def bucket_means(values: Sequence[float], count: int) -> list[float]:
    """`values` as at most `count` means of neighbors; NaN where a bucket holds no finite number."""
    length = len(values)
    if count <= 0 or not length:
        return []
    if length <= count:
        return [value if isfinite(value) else NAN for value in values]
    result = []
    for index in range(count):
        chunk = values[index * length // count : (index + 1) * length // count]
        numbers = finite(chunk)
        result.append(sum(numbers) / len(numbers) if numbers else NAN)
    return result


def sparkline(values: Sequence[float], width: int) -> str:
    """The curve of `values` in at most `width` cells; a space where there is no number."""
    means = bucket_means(values, width)
    numbers = finite(means)
    if not numbers:
        return ""
    low, high = min(numbers), max(numbers)
    span = high - low
    if span <= abs(high) * 1e-9:
        return "".join(_SPARK_LEVELS[3] if isfinite(value) else " " for value in means)
    return "".join(_SPARK_LEVELS[int((value - low) / span * 6.999)] if isfinite(value) else " " for value in means)


def meter(share: float | None, width: int) -> tuple[str, str]:
    """A thin bar of `width` cells: its filled part and the rest."""
    if share is None or not isfinite(share):
        return "", "─" * width
    halves = round(min(max(share, 0.0), 1.0) * width * 2)
    full, half = divmod(halves, 2)
    filled = "━" * full + ("╸" if half else "")
    return filled, "─" * (width - len(filled))


def exponential_mean(values: Sequence[float], *, window: int) -> list[float]:
    """An exponential mean over about `window` values, corrected for the bias of its start; skips non-finite values."""
    if not values:
        return []
    keep = 1 - 2 / (max(window, 1) + 1)
    mean = weight = 0.0
    result = []
    for value in values:
        if isfinite(value):
            mean = keep * mean + (1 - keep) * value
            weight = keep * weight + (1 - keep)
            result.append(mean / weight)
        else:
            result.append(result[-1] if result else NAN)
    return result
