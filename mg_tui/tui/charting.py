"""What a person has chosen of a chart: which curve, how smooth, on which axis, which steps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from mg_tui.tui.snapshot import window_of

_LEVELS: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)  # shares of the usual smoothing; 0: none
_USUAL: Final = 3
_NARROWEST: Final = 8.0  # steps


@dataclass(frozen=True, slots=True)
class View:
    """Choices; every method gives new ones.

    `span` is how many steps are shown (None: all), `right` the last of them (None: the newest, wherever that is).
    """

    curve: int = 0
    logarithmic: bool = False
    level: int = _USUAL
    span: float | None = None
    right: float | None = None

    def next(self, count: int, by: int) -> "View":
        """Another of `count` curves."""
        return replace(self, curve=(self.curve + by) % count)

    def scaled(self) -> "View":
        """The other kind of axis of values."""
        return replace(self, logarithmic=not self.logarithmic)

    def smoother(self, by: int) -> "View":
        """More (positive) or less smoothing."""
        return replace(self, level=min(max(self.level + by, 0), len(_LEVELS) - 1))

    @property
    def usual(self) -> bool:
        """Whether the smoothing is the usual one."""
        return self.level == _USUAL

    def smoothing(self, points: int) -> int:
        """Over how many of so many points the curve is smoothed; 0: not at all."""
        return round(window_of(points) * _LEVELS[self.level])

    def window(self, steps: Sequence[float]) -> tuple[float, float] | None:
        """The steps shown of a curve over `steps`; None: all."""
        if self.span is None or not steps:
            return None
        right = min(self.right if self.right is not None else steps[-1], steps[-1])
        left = max(right - self.span, steps[0])
        return float(left), float(max(left + self.span, left + 1))

    def zoomed(self, steps: Sequence[float], by: float) -> "View":
        """`by` times as many steps shown, the last one staying where it is."""
        if not steps:
            return self
        whole = max(steps[-1] - steps[0], 1.0)
        span = max((self.span or whole) * by, min(_NARROWEST, whole))
        return replace(self, span=None, right=None) if span >= whole else replace(self, span=span)

    def panned(self, steps: Sequence[float], by: float) -> "View":
        """Moved by a share of what is shown; at the end of the curve it follows the newest step."""
        if self.span is None or not steps:
            return self
        right = (self.right if self.right is not None else steps[-1]) + by * self.span
        right = max(right, steps[0] + self.span)
        return replace(self, right=None if right >= steps[-1] else right)

    def whole(self) -> "View":
        """All steps."""
        return replace(self, span=None, right=None)
