"""The view of a chart that a person chose: curve, smoothing, axis, steps, one chart or a grid of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from mg_tui.tui.runs.snapshot import smoothing_window

_SMOOTHING_FACTORS: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)  # factors of the default smoothing; 0: none
_DEFAULT_LEVEL: Final = 3
_MIN_SPAN: Final = 8.0  # steps


@dataclass(frozen=True, slots=True)
class ChartView:
    """An immutable view; every method returns a new one.

    `span` is the number of visible steps (None: all), `last_step` the last of them (None: the newest). `field` is a
    field of the step events that is drawn in place of the curve `curve_index`; `grid`: further curves beside it.
    """

    curve_index: int = 0
    logarithmic: bool = False
    smoothing_level: int = _DEFAULT_LEVEL
    span: float | None = None
    last_step: float | None = None
    field: str | None = None
    grid: bool = False

    def next_curve(self, count: int, by: int) -> "ChartView":
        """Move on by `by` among `count` curves; from a field, back to them."""
        by = 0 if self.field is not None else by
        return replace(self, curve_index=(self.curve_index + by) % count, field=None)

    def show_curve(self, index: int) -> "ChartView":
        """Draw the curve with this index."""
        return replace(self, curve_index=index, field=None)

    def show_field(self, name: str) -> "ChartView":
        """Draw a field of the step events."""
        return replace(self, field=name)

    def toggle_grid(self) -> "ChartView":
        """One chart, or a grid of them."""
        return replace(self, grid=not self.grid)

    def in_order(self, count: int) -> "list[ChartView]":
        """The views of a grid: this one, then those of the other of `count` curves, from the next one on."""
        first = self.curve_index + (self.field is None)
        others = [index % count for index in range(first, first + count)]
        return [self, *(self.show_curve(index) for index in others if self.field or index != self.curve_index)]

    def toggle_log_scale(self) -> "ChartView":
        """Switch between a linear and a logarithmic axis of values."""
        return replace(self, logarithmic=not self.logarithmic)

    def adjust_smoothing(self, by: int) -> "ChartView":
        """More (positive) or less smoothing."""
        return replace(self, smoothing_level=min(max(self.smoothing_level + by, 0), len(_SMOOTHING_FACTORS) - 1))

    @property
    def is_default_smoothing(self) -> bool:
        """Whether the smoothing is the default."""
        return self.smoothing_level == _DEFAULT_LEVEL

    def smoothing_points(self, points: int) -> int:
        """The smoothing window of a curve of `points` points; 0: no smoothing."""
        return round(smoothing_window(points) * _SMOOTHING_FACTORS[self.smoothing_level])

    def window(self, steps: Sequence[float]) -> tuple[float, float] | None:
        """The visible range of `steps`; None: all."""
        if self.span is None or not steps:
            return None
        right = min(self.last_step if self.last_step is not None else steps[-1], steps[-1])
        left = max(right - self.span, steps[0])
        return float(left), float(max(left + self.span, left + 1))

    def zoom(self, steps: Sequence[float], by: float) -> "ChartView":
        """Show `by` times as many steps; the last one stays."""
        if not steps:
            return self
        whole = max(steps[-1] - steps[0], 1.0)
        span = max((self.span or whole) * by, min(_MIN_SPAN, whole))
        return replace(self, span=None, last_step=None) if span >= whole else replace(self, span=span)

    def pan(self, steps: Sequence[float], by: float) -> "ChartView":
        """Move by a share of the visible steps; at the end of the curve, follow the newest step."""
        if self.span is None or not steps:
            return self
        right = (self.last_step if self.last_step is not None else steps[-1]) + by * self.span
        right = max(right, steps[0] + self.span)
        return replace(self, last_step=None if right >= steps[-1] else right)

    def show_all_steps(self) -> "ChartView":
        """Show all steps."""
        return replace(self, span=None, last_step=None)
