"""What a person has chosen of a chart: which curve, how smooth, on which axis, which steps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from mg_tui.tui.runs.snapshot import smoothing_window

_SMOOTHING_FACTORS: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)  # shares of the usual smoothing; 0: none
_DEFAULT_LEVEL: Final = 3
_MIN_SPAN: Final = 8.0  # steps


@dataclass(frozen=True, slots=True)
class ChartView:
    """Choices; every method gives new ones.

    `span` is how many steps are shown (None: all), `right` the last of them (None: the newest, wherever that is).
    """

    curve_index: int = 0
    logarithmic: bool = False
    smoothing_level: int = _DEFAULT_LEVEL
    span: float | None = None
    last_step: float | None = None

    def next_curve(self, count: int, by: int) -> "ChartView":
        """Another of `count` curves."""
        return replace(self, curve_index=(self.curve_index + by) % count)

    def toggle_log_scale(self) -> "ChartView":
        """The other kind of axis of values."""
        return replace(self, logarithmic=not self.logarithmic)

    def adjust_smoothing(self, by: int) -> "ChartView":
        """More (positive) or less smoothing."""
        return replace(self, smoothing_level=min(max(self.smoothing_level + by, 0), len(_SMOOTHING_FACTORS) - 1))

    @property
    def is_default_smoothing(self) -> bool:
        """Whether the smoothing is the usual one."""
        return self.smoothing_level == _DEFAULT_LEVEL

    def smoothing_points(self, points: int) -> int:
        """Over how many of so many points the curve is smoothed; 0: not at all."""
        return round(smoothing_window(points) * _SMOOTHING_FACTORS[self.smoothing_level])

    def window(self, steps: Sequence[float]) -> tuple[float, float] | None:
        """The steps shown of a curve over `steps`; None: all."""
        if self.span is None or not steps:
            return None
        right = min(self.last_step if self.last_step is not None else steps[-1], steps[-1])
        left = max(right - self.span, steps[0])
        return float(left), float(max(left + self.span, left + 1))

    def zoom(self, steps: Sequence[float], by: float) -> "ChartView":
        """`by` times as many steps shown, the last one staying where it is."""
        if not steps:
            return self
        whole = max(steps[-1] - steps[0], 1.0)
        span = max((self.span or whole) * by, min(_MIN_SPAN, whole))
        return replace(self, span=None, last_step=None) if span >= whole else replace(self, span=span)

    def pan(self, steps: Sequence[float], by: float) -> "ChartView":
        """Moved by a share of what is shown; at the end of the curve it follows the newest step."""
        if self.span is None or not steps:
            return self
        right = (self.last_step if self.last_step is not None else steps[-1]) + by * self.span
        right = max(right, steps[0] + self.span)
        return replace(self, last_step=None if right >= steps[-1] else right)

    def show_all_steps(self) -> "ChartView":
        """All steps."""
        return replace(self, span=None, last_step=None)
