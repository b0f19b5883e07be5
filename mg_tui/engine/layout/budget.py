"""The token budget of packed forward passes, from the available memory. Arithmetic, free of torch.

Before the model is loaded the estimate decides; once a worst forward pass has been measured, the measurement does. Both
ask for the most tokens, up to the target, with which a run fits: more would gain nothing, fewer only when memory
is short. A row that is longer than the budget goes alone whatever the budget is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mg_tui.hardware.memory.advisor import largest_fitting
from mg_tui.hardware.memory.workload import MIN_TOKEN_BUDGET

# Packed rows that share nothing attend through one mask whose cost grows with the square of its length: from about this
# many tokens on it costs more than fuller matrix products bring, at the widths of 3B and 7B. Estimated, not measured.
MAX_CUDA_TOKENS: Final = 8192
# Shares of the free memory: a GPU is rarely shared, and the estimate has a margin of its own; the memory of a machine
# is shared with everything on it.
CUDA_MEMORY_SHARE: Final = 0.95
HOST_MEMORY_SHARE: Final = 0.6
# On a CPU a pass of rows that share nothing is long enough with so many tokens, or so many numbers in its hidden states
# where these are narrow: from there on its products run no faster (docs/benchmarks.md), and all it has to keep grows.
# With checkpointing, which is used to save memory, half of that: a little slower, and up to a quarter less memory.
SUFFICIENT_TOKENS: Final = 512
SUFFICIENT_ELEMENTS: Final = 2**18
# Budgets are multiples of this, so that a few bytes more or less of free memory mostly make no other layout.
BUDGET_MULTIPLE: Final = 64


@dataclass(frozen=True, slots=True)
class BudgetBounds:
    """Bounds of the tokens of a forward pass: `minimum` is the longest row, `target` the useful maximum."""

    minimum: int
    target: int


@dataclass(frozen=True, slots=True)
class MemoryCurve:
    """What a forward pass of so many tokens needs, in bytes: the run's `total`, and what is `moving`, which comes and
    goes with the pass. Neither falls as tokens grow."""

    total: Callable[[int], int]
    transient: Callable[[int], int]


@dataclass(frozen=True, slots=True)
class PassMeasurement:
    """A forward and backward pass that was done to be measured, in bytes.

    Attributes:
        tokens: of the pass.
        held_bytes: weights, adapter and gradients: before the pass and after it.
        peak_bytes: the peak during it.
        available_bytes: all that this process may use.
    """

    tokens: int
    held_bytes: int
    peak_bytes: int
    available_bytes: int


def sufficient_tokens(width: int, *, small: bool) -> int:
    """Tokens with which a forward pass on a CPU is long enough, by the width of the model's hidden states.

    Where memory counts (`small`) a quarter of that: often a row a pass, 15 to 30 MiB less, and measured no slower.
    """
    return max(SUFFICIENT_TOKENS, SUFFICIENT_ELEMENTS // width) // (4 if small else 1)


def budget_bounds(*, longest: int, batch_size: int, per_step: int, cuda: bool) -> BudgetBounds:
    """What a budget may be.

    Args:
        longest: tokens of the longest row.
        batch_size: the requested rows of a forward pass.
        per_step: rows of an optimizer step; no pass can have more.
        cuda: whether the device is a CUDA one; a CPU gains nothing from longer passes.
    """
    target = max(batch_size * longest, MIN_TOKEN_BUDGET)
    if cuda:
        target = max(target, min(per_step * longest, MAX_CUDA_TOKENS))
    return BudgetBounds(minimum=longest, target=_round_to_multiple(target, longest))


def budget_from_estimate(curve: MemoryCurve, bounds: BudgetBounds, available: int) -> int:
    """The largest budget whose estimate fits into `available` bytes; the minimum when none does."""
    return _largest_fitting(bounds, lambda tokens: curve.total(tokens) <= available)


def budget_from_measurement(
    curve: MemoryCurve, bounds: BudgetBounds, measurement: PassMeasurement, *, upcoming_bytes: int
) -> int:
    """The largest budget with which the run fits, from a measured pass.

    The estimate's curve is scaled to go through what was measured: how memory grows with tokens is derived, how much is
    lost to kernels and the allocator is not.

    Args:
        curve: the estimate.
        bounds: what a budget may be.
        measurement: the measurement.
        upcoming_bytes: memory that was not allocated yet: the optimizer's state.
    """
    scale = max(measurement.peak_bytes - measurement.held_bytes, 1) / max(curve.transient(measurement.tokens), 1)
    free = measurement.available_bytes - measurement.held_bytes - upcoming_bytes
    return _largest_fitting(bounds, lambda tokens: scale * curve.transient(tokens) <= free)


def _largest_fitting(bounds: BudgetBounds, fits: Callable[[int], bool]) -> int:
    if fits(bounds.target):
        return bounds.target
    units = largest_fitting(
        -(-bounds.minimum // BUDGET_MULTIPLE),
        bounds.target // BUDGET_MULTIPLE,
        lambda count: fits(count * BUDGET_MULTIPLE),
    )
    return bounds.minimum if units is None else units * BUDGET_MULTIPLE


def _round_to_multiple(tokens: int, least: int) -> int:
    return max(tokens // BUDGET_MULTIPLE * BUDGET_MULTIPLE, least)
