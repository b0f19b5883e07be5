"""A chart of curves over optimizer steps, drawn in braille with its axes.

Not by a plotting package: this needs no numpy, spikes survive any number of steps (see `braille.draw_curve`), and marks
keep their glyph without color.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import ceil, floor, isfinite, log10
from typing import Final

from textual.content import Content

from mg_tui.tui import formatting
from mg_tui.tui.braille import (
    Canvas,
    Frame,
    Pen,
    draw_curve,
    even_frame,
    nice_ticks,
    nice_unit,
    ticks_between,
)
from mg_tui.tui.text_charts import finite
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, cell, fit, join_fitting, line

EVAL_MARK: Final = "◆"
STEP_LABEL: Final = "step"  # of the lower axis
_GRID_CELL: Final = (38, 8)  # least columns and lines of a chart in a grid
_GRID_GAP: Final = 2  # columns between two charts of a grid
SOLID: Final = (1, 0)
RULE: Final = (3, 3)
# Of several curves of one kind (runs, devices), the index gives the color (theme tones run-1 ...), the glyph and the
# dashes: any of them tells the curves apart.
CURVE_GLYPHS: Final = ("●", "■", "▲", "◆", "✚", "○")
CURVE_DASHES: Final = (SOLID, (6, 2), (2, 2), (10, 3), (4, 4), (1, 2))
_GLYPHS: Final = {"mark": EVAL_MARK, "dots": "·", "line": "─", "rule": "╌"}


@dataclass(frozen=True, slots=True)
class ChartLine:
    """A curve: its name in the legend (none: it is not there), values over `steps`, which rise, and a tone.

    `style` is "line" (joined), "dots", "mark" (a glyph each) or "rule" (a dashed line that is always in sight). A line
    may be dashed and carry a glyph from place to place: see `braille.Pen`.
    """

    name: str
    steps: Sequence[float]
    values: Sequence[float]
    tone: str
    style: str = "line"
    dash: tuple[int, int] = (1, 0)
    glyph: str = ""
    offset: int = 0

    def clip(self, left: float, right: float) -> "ChartLine":
        """The part of it between two steps."""
        if self.style == "rule":
            return replace(self, steps=(left, right), values=(self.values[-1],) * 2) if self.values else self
        first, end = bisect_left(self.steps, left), bisect_right(self.steps, right)
        return replace(self, steps=self.steps[first:end], values=self.values[first:end])

    @property
    def pen(self) -> Pen:
        """How it is drawn."""
        dash = RULE if self.style == "rule" else self.dash
        return Pen(self.tone, self.style != "dots", dash, self.glyph, offset=self.offset)


@dataclass(frozen=True, slots=True)
class Plot:
    """What to draw: a title, lines from back to front, the last planned step, how values are written."""

    title: str
    lines: tuple[ChartLine, ...]
    last_step: float | None = None
    format_value: Callable[[float | None], str] = formatting.loss
    from_zero: bool = False
    logarithmic: bool = False
    step_window: tuple[float, float] | None = None  # the steps shown; None: all
    x_label: str = STEP_LABEL

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(map(isfinite, chain.from_iterable(line.values for line in self.lines)))


def draw_plot(plot: Plot, width: int, height: int) -> list[Content]:
    """The chart at `width` x `height` cells: a legend, the curves with the axis of values, the axis of steps."""
    if height < 4 or width < 24:
        return [_legend_line(plot, width)]
    visible = [item.clip(*plot.step_window) for item in plot.lines] if plot.step_window else plot.lines
    scaled = [(item, _log_values(item.values) if plot.logarithmic else item.values) for item in visible]
    frame = _frame(plot, scaled)
    rows = height - 2
    scale = _tick_scale(plot, frame)
    binary = plot.logarithmic and plot.format_value is formatting.size
    unit = 0.0 if binary else nice_unit(frame.low / scale, frame.high / scale, max(rows // 3, 4)) * scale
    if unit:
        frame = even_frame(frame, unit, rows, from_bottom=plot.from_zero and frame.low == 0)
    ticks = (ticks_between(frame.low, frame.high, unit) if unit else []) or [frame.low]
    if binary:
        ticks = _binary_ticks(frame, max(rows // 3, 2)) or ticks
    if plot.format_value is formatting.percent and not plot.logarithmic:
        ticks = [tick for tick in ticks if tick < 1.001] or ticks  # nothing is more than all of it
    labels = {_canvas_row(tick, frame, rows): _tick_label(plot, tick, ticks, scale) for tick in ticks}
    margin = max(*map(len, labels.values()), len(plot.x_label))
    canvas = Canvas(width - margin - 2, rows)
    for item, values in scaled:
        if item.style == "mark":
            for step, value in zip(item.steps, values, strict=True):
                if isfinite(value):
                    canvas.mark(
                        (step - frame.left) / ((frame.right - frame.left) or 1),
                        (value - frame.low) / ((frame.high - frame.low) or 1),
                        EVAL_MARK,
                        item.tone,
                    )
        else:
            draw_curve(canvas, frame, item.steps, values, item.pen)
    if rows >= 10:
        for item, _ in scaled:
            if item.style == "line":
                canvas.thicken(item.tone)
    body = [
        line(
            (labels.get(y, "").rjust(margin), tone("dim")),
            (" ┤" if y in labels else " │", tone("faint")),
            *((text, tone(name) if name else "") for text, name in runs),
        )
        for y, runs in enumerate(canvas.rows())
    ]
    return [_legend_line(plot, width), *body, _step_axis(plot.x_label, frame, margin, canvas.width)]


def grid_shape(count: int, width: int, height: int) -> tuple[int, int]:
    """Columns and rows of a grid of up to `count` charts in `width` x `height` cells; one chart always fits."""
    columns = max(min(count, (width + _GRID_GAP) // (_GRID_CELL[0] + _GRID_GAP)), 1)
    rows = max(min(-(-count // columns), height // _GRID_CELL[1]), 1)
    return max(min(-(-count // rows), columns), 1), rows


def draw_grid(plots: Sequence[Plot], width: int, height: int) -> list[Content]:
    """As many of `plots`, from the first, as there is room for at `width` x `height` cells."""
    columns, rows = grid_shape(len(plots), width, height)
    column_width = (width - _GRID_GAP * (columns - 1)) // columns
    lines: list[Content] = []
    for row in range(rows):
        row_height = (row + 1) * height // rows - row * height // rows
        drawn = [draw_plot(plot, column_width, row_height) for plot in plots[row * columns : (row + 1) * columns]]
        for y in range(row_height):
            cells = [cell(chart[y] if y < len(chart) else Content(), column_width) for chart in drawn]
            lines.append(Content(" " * _GRID_GAP).join(cells))
    return lines


def _binary_ticks(frame: Frame, most: int) -> list[float]:
    """Powers of two on a logarithmic axis of bytes, at most so many."""
    first, last = ceil(frame.low / log10(2)), floor(frame.high / log10(2))
    every = max(-(-(last - first + 1) // most), 1)
    return [power * log10(2) for power in range(first, last + 1, every)]


def _tick_scale(plot: Plot, frame: Frame) -> float:
    """What ticks are round multiples of: a binary unit on an axis of bytes."""
    if plot.format_value is not formatting.size or plot.logarithmic:
        return 1.0
    return formatting.unit_of(frame.high)[0]


def _tick_label(plot: Plot, tick: float, ticks: Sequence[float], scale: float) -> str:
    """A tick as the plot writes values; plain numbers with no more decimals than tell the ticks apart."""
    if plot.logarithmic:
        value = 10.0**tick
        return f"{value:.3g}" if plot.format_value is formatting.loss and value >= 1e-3 else plot.format_value(value)
    if plot.format_value is formatting.size:
        return f"{tick / scale:g} {formatting.unit_of(scale)[1]}"
    if plot.format_value is not formatting.loss or len(ticks) < 2 or ticks[1] - ticks[0] < 1e-3:
        return f"{tick:g}" if plot.format_value is formatting.loss else plot.format_value(tick)
    step = ticks[1] - ticks[0]
    decimals = next(digits for digits in range(5) if abs(round(step, digits) - step) < step * 1e-6 or digits == 4)
    return f"{tick:.{decimals}f}"


def _log_values(values: Sequence[float]) -> list[float]:
    """Values for a logarithmic axis."""
    return [log10(value) if value > 0 and isfinite(value) else float("nan") for value in values]


def _frame(plot: Plot, scaled: Sequence[tuple[ChartLine, Sequence[float]]]) -> Frame:
    """The range of values, cut at four times the spread of the inner nine tenths above them: a few wild first steps
    must not flatten the rest."""
    numbers = sorted(chain.from_iterable(finite(values) for _, values in scaled))
    if not numbers:
        return Frame(0, 1, 0, 1)
    low, high = numbers[0], numbers[-1]
    if len(numbers) >= 20 and not plot.logarithmic:
        inner_low, inner_high = numbers[len(numbers) // 20], numbers[-1 - len(numbers) // 20]
        high = min(high, inner_high + 4 * max(inner_high - inner_low, 0.0)) if inner_high > inner_low else high
    if plot.from_zero and not plot.logarithmic:
        low = min(low, 0.0)
    rules = [value for item, values in scaled if item.style == "rule" for value in values if isfinite(value)]
    low, high = min([low, *rules]), max([high, *rules])
    flat = high - low <= abs(high) * 1e-4  # rounding must not look like a mountain range
    margin = (abs(high) * 0.05 or 0.5) if flat else (high - low) * 0.04
    steps = [step for item, _ in scaled for step in (*item.steps[:1], *item.steps[-1:])]  # they rise
    right = max([*steps, plot.last_step or 0.0, 2.0]) if steps else 1.0
    low = low if plot.from_zero and low == 0 else low - margin
    if plot.step_window is not None:
        return Frame(*plot.step_window, low, high + margin)
    return Frame(min(steps) if steps and min(steps) < max(steps) else 0.0, right, low, high + margin)


def _canvas_row(value: float, frame: Frame, rows: int) -> int:
    share = (value - frame.low) / ((frame.high - frame.low) or 1)
    return min(max(round((1 - share) * (rows * 4 - 1)) >> 2, 0), rows - 1)


def _legend_line(plot: Plot, width: int) -> Content:
    """Title and newest values; on a narrow chart, as many of them as fit."""
    parts: list[Content] = [Content.styled(plot.title, "bold")]
    if plot.logarithmic and width < 60:
        parts.append(Content.styled("log", tone("dim")))
    if plot.step_window is not None and plot.x_label == STEP_LABEL:
        parts.append(Content.styled(f"steps {plot.step_window[0]:.0f} to {plot.step_window[1]:.0f}", tone("key")))
    for item in plot.lines:
        newest = next((value for value in reversed(item.values) if value is not None), None)
        glyph = item.glyph or _GLYPHS[item.style]
        if item.values and item.name:
            parts.append(
                line((f"{glyph} ", tone(item.tone)), (f"{item.name} ", tone("dim")), plot.format_value(newest))
            )
    if plot.logarithmic and width >= 60:
        parts.append(Content.styled("log", tone("dim")))
    return fit(Content("   ").join(parts), width) if width >= 60 else join_fitting(parts, width, "  ")


def _step_axis(label: str, frame: Frame, margin: int, width: int) -> Content:
    """Steps under the curves, as many as have room; `label` names them."""
    text = [" "] * width
    for tick in nice_ticks(frame.left, frame.right, max(width // 10, 1)):
        if tick != int(tick):
            continue
        number = f"{int(tick)}"
        start = round((tick - frame.left) / ((frame.right - frame.left) or 1) * (width - 1)) - len(number) // 2
        start = min(max(start, 0), width - len(number))
        if all(character == " " for character in text[max(start - 1, 0) : start + len(number) + 1]):
            text[start : start + len(number)] = number
    return line((label.rjust(margin), tone("dim")), (" └", tone("faint")), ("".join(text), tone("dim")))


class Chart(Lines):
    """Draws one `Plot` as large as it is, or several in a grid."""

    DEFAULT_CSS = """
    Chart { height: 1fr; min-height: 4; padding: 0 1; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._plots: tuple[Plot, ...] = ()
        self._placeholder = ""

    def show(self, plots: Sequence[Plot], placeholder: str) -> None:
        """Draw the first of `plots`, and beside it those others that are not empty; `placeholder` when it is empty."""
        plots = tuple(plot for index, plot in enumerate(plots) if index == 0 or not plot.is_empty)
        if (plots, placeholder) != (self._plots, self._placeholder):
            self._plots, self._placeholder = plots, placeholder
            self.redraw()

    def lines(self, width: int) -> list[Content]:
        height = self.content_size.height
        if self._plots and not self._plots[0].is_empty:
            return draw_grid(self._plots, width, height)
        text = fit(Content.styled(self._placeholder, tone("dim")), width)
        above = max(height // 2 - 1, 0)
        below = max(height - above - 1, 0)
        return [*[Content()] * above, text.pad_left(max((width - text.cell_length) // 2, 0)), *[Content()] * below]
