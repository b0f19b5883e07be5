"""The most a run may cost: `max_cost`, in the currency of the settings' [cost] table."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from mg_tui.runs.cost import compute_cost


class Budget:
    """Says when a run has cost too much.

    Args:
        most: in money; None is no limit.
        prices: the settings' [cost] table.
        usage: GPU usage of all attempts so far (`energy_j`, `gpu_seconds`).
        before: seconds of earlier attempts.
        clock: seconds.
    """

    def __init__(
        self,
        most: float | None,
        prices: Mapping[str, Any],
        usage: Callable[[], Mapping[str, Any]],
        before: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._most, self._prices, self._usage = most, prices, usage
        self._before, self._clock, self._began = before, clock, clock()

    def exceeded(self) -> str | None:
        """What the run has cost, if that is too much; None while it is not, or is not known."""
        if self._most is None:
            return None
        used, seconds = self._usage(), self._before + self._clock() - self._began
        cost = compute_cost(used.get("energy_j"), used.get("gpu_seconds"), self._prices, seconds)
        return cost.formatted_money if cost.money is not None and cost.money >= self._most else None
