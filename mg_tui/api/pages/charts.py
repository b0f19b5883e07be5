"""Curves as lines of an SVG: points, scale and labels; nothing of HTML."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 600
HEIGHT: Final = 180
_POINTS: Final = 300  # of a line; more cannot be told apart
_MARGIN: Final = 6.0  # above and below, so that a line at the edge is whole


@dataclass(frozen=True, slots=True)
class CurveChart:
    """A chart.

    Attributes:
        title: what is shown, with its unit.
        lines: polylines, as SVG points; a curve is broken where values are missing.
        marks: points of a second curve, as (x, y).
        last: the newest value; `low`, `high`: the ends of the scale; `first_step`, `last_step`: of the axis.
        missing: how many values are NaN or infinite.
        marks_title: what the second curve is.
    """

    title: str
    lines: list[str]
    marks: list[tuple[float, float]]
    last: str
    low: str
    high: str
    first_step: int
    last_step: int
    missing: int
    marks_title: str = ""


def make_chart(
    title: str,
    steps: Sequence[int],
    values: Sequence[float],
    *,
    marks: Sequence[tuple[int, float]] = (),
    marks_title: str = "",
    scale: float = 1.0,
) -> CurveChart | None:
    """A curve over the steps, with a second one as marks; None when it has no value.

    Args:
        values: one for each step; NaN and infinities leave a gap.
        scale: values are divided by it.
    """
    points = [(step, value / scale) for step, value in zip(steps, values, strict=True)]
    known = [(step, value) for step, value in points if math.isfinite(value)]
    others = [(step, value / scale) for step, value in marks if math.isfinite(value)]
    if not known:
        return None
    first, last = min(known + others)[0], max(known + others)[0]
    low, high = min(value for _, value in known + others), max(value for _, value in known + others)

    def place(step: int, value: float) -> tuple[float, float]:
        x = (step - first) / (last - first) * WIDTH if last > first else WIDTH / 2
        y = (high - value) / (high - low) if high > low else 0.5
        return round(x, 1), round(_MARGIN + y * (HEIGHT - 2 * _MARGIN), 1)

    lines = [[place(*point) for point in _thinned(piece)] for piece in _pieces(points)]
    return CurveChart(
        title,
        [" ".join(f"{x},{y}" for x, y in _visible(line)) for line in lines],
        [place(*mark) for mark in others[-_POINTS:]],
        _number(known[-1][1]),
        _number(low),
        _number(high),
        first,
        last,
        len(points) - len(known) if any(map(math.isinf, values)) or _has_gap(values) else 0,
        marks_title if others else "",
    )


def _has_gap(values: Sequence[float]) -> bool:
    """Whether a value is missing after the first that is there: some curves begin late, or have every other step."""
    begun = False
    for value in values:
        if begun and math.isnan(value):
            return True
        begun = begun or not math.isnan(value)
    return False


def _pieces(points: Sequence[tuple[int, float]]) -> list[list[tuple[int, float]]]:
    pieces: list[list[tuple[int, float]]] = [[]]
    for step, value in points:
        if math.isfinite(value):
            pieces[-1].append((step, value))
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most some hundred points; of each group the lowest and the highest, so that no spike is lost."""
    if len(points) <= _POINTS:
        return points
    size = math.ceil(len(points) / (_POINTS // 2))
    kept: list[tuple[int, float]] = []
    for at in range(0, len(points), size):
        group = points[at : at + size]
        kept += sorted({min(group, key=lambda item: item[1]), max(group, key=lambda item: item[1])})
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def _visible(line: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """A single point is drawn as a short line."""
    if len(line) > 1:
        return line
    ((x, y),) = line
    return [(max(x - 6, 0), y), (min(x + 6, WIDTH), y)]


def _number(value: float) -> str:
    return f"{value:.4g}"
