"""Curves in braille: a grid of cells with 2x4 dots each, several curves over each other, one color per cell.

A cell belongs to the last curve that touched it, so draw the one that matters last.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import floor, isfinite, log10
from typing import Final

# Bits of a braille cell, by column (0, 1) and row (0..3 from the top).
_DOTS: Final = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))


@dataclass(frozen=True, slots=True)
class Frame:
    """The visible part of the plane: steps from `left` to `right`, values from `low` to `high`."""

    left: float
    right: float
    low: float
    high: float


class Canvas:
    """`width` x `height` cells. Positions are shares of the canvas: x from the left, y from the bottom, both 0 to 1."""

    def __init__(self, width: int, height: int):
        self.width, self.height = max(width, 1), max(height, 1)
        self._bits = [[0] * self.width for _ in range(self.height)]
        self._tones: list[list[str]] = [[""] * self.width for _ in range(self.height)]
        self._marks: dict[tuple[int, int], tuple[str, str]] = {}

    def dot(self, column: int, row: int, tone: str) -> None:
        """Set one dot, counted from the top left; outside of the canvas nothing happens."""
        x, y = column >> 1, row >> 2
        if 0 <= x < self.width and 0 <= y < self.height:
            if self._tones[y][x] != tone:
                self._tones[y][x], self._bits[y][x] = tone, 0
            self._bits[y][x] |= _DOTS[column & 1][row & 3]

    def dot_at(self, x: float, y: float) -> tuple[int, int]:
        """The dot at a position."""
        return round(x * (self.width * 2 - 1)), round((1 - y) * (self.height * 4 - 1))

    def line(self, a: tuple[int, int], b: tuple[int, int], tone: str, dash: tuple[int, int] = (1, 0)) -> None:
        """Dots from one to another; `dash` is how many columns of dots are drawn and then left out."""
        (ax, ay), (bx, by) = a, b
        (on, off), length = dash, max(abs(bx - ax), abs(by - ay), 1)
        for index in range(length + 1):
            x = ax + (bx - ax) * index // length
            if x % (on + off) < on:
                self.dot(x, ay + (by - ay) * index // length, tone)

    def thicken(self, tone: str) -> None:
        """Make what was drawn in a tone two dots high, as far as its own cells reach."""
        for bits, tones in zip(self._bits, self._tones, strict=True):
            for x, name in enumerate(tones):
                if name == tone:
                    bits[x] |= _shift_up(bits[x])

    def mark(self, x: float, y: float, glyph: str, tone: str) -> None:
        """A glyph in place of the dots of a cell."""
        column, row = self.dot_at(x, y)
        self.stamp(column >> 1, row >> 2, glyph, tone)

    def stamp(self, x: int, y: int, glyph: str, tone: str) -> None:
        """A glyph in a cell, counted from the top left; outside, in the nearest."""
        self._marks[min(max(y, 0), self.height - 1), min(max(x, 0), self.width - 1)] = (glyph, tone)

    def rows(self) -> list[list[tuple[str, str]]]:
        """Every row as runs of (text, tone)."""
        return [self._row(y) for y in range(self.height)]

    def _row(self, y: int) -> list[tuple[str, str]]:
        runs: list[tuple[str, str]] = []
        for x in range(self.width):
            bits = self._bits[y][x]
            glyph, tone = self._marks.get((y, x)) or (chr(0x2800 + bits) if bits else " ", self._tones[y][x])
            if runs and runs[-1][1] == tone:
                runs[-1] = (runs[-1][0] + glyph, tone)
            else:
                runs.append((glyph, tone))
        return runs


def _shift_up(bits: int) -> int:
    """A cell's dots moved up by one row."""
    moved = 0
    for column in _DOTS:
        for above, below in pairwise(column):
            if bits & below:
                moved |= above
    return moved


@dataclass(frozen=True, slots=True)
class Pen:
    """Style of a curve: its tone; joined or dots; dash pattern; a glyph every `every` cells from `offset` on."""

    tone: str
    joined: bool = True
    dash: tuple[int, int] = (1, 0)
    glyph: str = ""
    every: int = 16
    offset: int = 0


def draw_curve(canvas: Canvas, frame: Frame, steps: Sequence[float], values: Sequence[float], pen: Pen) -> None:
    """Draw values over ascending steps. A column of dots is drawn from its lowest to its highest value, so that a
    spike stays visible however long the run is; a joined pen connects the means of the columns instead.
    """
    height = (frame.high - frame.low) or 1.0

    def row(value: float) -> int:
        return canvas.dot_at(0, min(max((value - frame.low) / height, 0.0), 1.0))[1]

    previous: tuple[int, int] | None = None
    for column, low, high, mean in _columns(canvas.width * 2, frame, steps, values):
        if not pen.joined:
            canvas.line((column, row(low)), (column, row(high)), pen.tone)
            continue
        point = (column, row(mean))
        canvas.line(previous or point, point, pen.tone, pen.dash)
        if pen.glyph:
            _stamp_glyphs(canvas, pen, previous or point, point)
        previous = point


def _columns(
    dots: int, frame: Frame, steps: Sequence[float], values: Sequence[float]
) -> Iterator[tuple[int, float, float, float]]:
    """The columns of dots that have values, with the lowest, the highest and the mean in each.

    Thousands of points are drawn twice a second, so work per point is left to builtins.
    """
    scale = (dots - 1) / ((frame.right - frame.left) or 1.0)
    index, end = bisect_left(steps, frame.left), bisect_right(steps, frame.right)
    clean = isfinite(sum(values[index:end]))
    while index < end:
        column = round((steps[index] - frame.left) * scale)
        after = max(bisect_left(steps, frame.left + (column + 0.5) / scale, index, end), index + 1)
        chunk = values[index:after] if clean else [value for value in values[index:after] if isfinite(value)]
        if chunk:
            yield column, min(chunk), max(chunk), sum(chunk) / len(chunk)
        index = after


def _stamp_glyphs(canvas: Canvas, pen: Pen, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Stamp the pen's glyph on the segment of a curve between two dots, in the columns that have one."""
    for x in range(start[0] // 2 + 1, end[0] // 2 + 1):
        if x % pen.every == pen.offset:
            share = min(max((x * 2 - start[0]) / max(end[0] - start[0], 1), 0.0), 1.0)
            canvas.stamp(x, round(start[1] + share * (end[1] - start[1])) >> 2, pen.glyph, pen.tone)


def nice_ticks(low: float, high: float, count: int, *, scale: float = 1.0) -> list[float]:
    """At most about `count` numbers between `low` and `high` that are round when divided by `scale`."""
    unit = nice_unit(low / scale, high / scale, count) * scale
    return ticks_between(low, high, unit) if unit else []


def nice_unit(low: float, high: float, count: int) -> float:
    """The round distance of about `count` ticks; 0 when there is none."""
    if not (isfinite(low) and isfinite(high)) or high <= low or count < 1:
        return 0.0
    raw = (high - low) / count
    power = 10.0 ** floor(log10(raw))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= raw * 0.999)


def ticks_between(low: float, high: float, unit: float) -> list[float]:
    """The multiples of `unit` from `low` to `high`."""
    first = -floor(-low / unit + 1e-9)
    return [tick * unit for tick in range(first, floor(high / unit + 1e-9) + 1)]


def even_frame(frame: Frame, unit: float, rows: int, *, from_bottom: bool) -> Frame:
    """`frame` with its values extended so that `unit` is a whole number of the `rows`: ticks are evenly far apart.

    `from_bottom`: extend only above.
    """
    dots, span = rows * 4 - 1, frame.high - frame.low
    rows_per_unit = floor(unit * dots / (4 * span)) if span > 0 else 0
    if rows_per_unit < 1:
        return frame
    more = unit * dots / (4 * rows_per_unit) - span
    below = 0.0 if from_bottom else more / 2
    return Frame(frame.left, frame.right, frame.low - below, frame.high + more - below)
