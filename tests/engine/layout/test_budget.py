"""The token budget by arithmetic, with made-up numbers."""

from types import SimpleNamespace

import pytest

from mg_tui.engine.layout.budget import (
    BUDGET_MULTIPLE,
    CUDA_MEMORY_SHARE,
    MAX_CUDA_TOKENS,
    BudgetBounds,
    MemoryCurve,
    PassMeasurement,
    budget_bounds,
    budget_from_estimate,
    budget_from_measurement,
    sufficient_tokens,
)
from mg_tui.engine.run.placement import Placement
from mg_tui.engine.run.token_budget import usable_memory

MIB = 2**20
# A thousand MiB of weights, one for each token that passes.
MEMORY_CURVE = MemoryCurve(total=lambda tokens: (1000 + tokens) * MIB, transient=lambda tokens: tokens * MIB)
LIMITS = BudgetBounds(minimum=500, target=4096)


def test_what_is_wanted() -> None:
    assert budget_bounds(longest=300, batch_size=1, per_step=8, cuda=False) == BudgetBounds(300, 2048)
    assert budget_bounds(longest=3000, batch_size=2, per_step=8, cuda=False) == BudgetBounds(
        3000, 6000 // BUDGET_MULTIPLE * BUDGET_MULTIPLE
    )
    assert budget_bounds(longest=300, batch_size=1, per_step=8, cuda=True) == BudgetBounds(
        300, 2400 // BUDGET_MULTIPLE * BUDGET_MULTIPLE
    )
    assert budget_bounds(longest=3000, batch_size=1, per_step=64, cuda=True) == BudgetBounds(3000, MAX_CUDA_TOKENS)
    assert budget_bounds(longest=9001, batch_size=1, per_step=1, cuda=True) == BudgetBounds(9001, 9001)


@pytest.mark.parametrize(
    ("room", "budget"),
    [(10_000, 4096), (5096, 4096), (5095, 4032), (2000, 960), (1500, 500), (1511, 500), (1512, 512), (100, 500)],
)
def test_the_most_that_fits_by_the_estimate(room: int, budget: int) -> None:
    assert budget_from_estimate(MEMORY_CURVE, LIMITS, room * MIB) == budget


@pytest.mark.parametrize(
    ("peak", "room", "coming", "budget"),
    [
        (1000 + 2048, 6000, 0, 4096),  # as estimated, and there is room
        (1000 + 2048, 3048, 0, 2048),  # as estimated, and it just fits
        (1000 + 4096, 3048, 0, 1024),  # twice what was estimated: half the tokens
        (1000 + 1024, 3048, 0, 4096),  # half of it: twice the tokens, as far as they are wanted
        (1000 + 2048, 3048, 1024, 1024),  # the optimizer's state is still to come
        (1000 + 2048, 1000, 0, 500),  # nothing fits: one row at a time, and the step will say so
    ],
)
def test_the_estimate_is_scaled_to_what_was_measured(peak: int, room: int, coming: int, budget: int) -> None:
    result = PassMeasurement(tokens=2048, held_bytes=1000 * MIB, peak_bytes=peak * MIB, available_bytes=room * MIB)
    assert budget_from_measurement(MEMORY_CURVE, LIMITS, result, upcoming_bytes=coming * MIB) == budget


def test_a_measurement_of_nothing_is_no_reason_to_fail() -> None:
    result = PassMeasurement(tokens=0, held_bytes=MIB, peak_bytes=MIB, available_bytes=MIB)
    assert (
        budget_from_measurement(
            MemoryCurve(total=lambda _tokens: 0, transient=lambda _tokens: 0), LIMITS, result, upcoming_bytes=0
        )
        == 4096
    )


@pytest.mark.parametrize("driver", [True, False], ids=["the driver answers", "it does not"])
def test_free_memory_of_a_gpu(monkeypatch: pytest.MonkeyPatch, driver: bool) -> None:
    import torch

    def used(_device: str) -> int:
        if not driver:
            raise RuntimeError("no NVML")
        return 4000 * MIB

    monkeypatch.setattr(torch.cuda, "device_memory_used", used)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: SimpleNamespace(total_memory=24_000 * MIB))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (10_000 * MIB, 24_000 * MIB))
    placed = Placement("cuda:0", "a GPU", "bfloat16", "nf4", "sdpa")
    assert usable_memory(placed) == int(CUDA_MEMORY_SHARE * (20_000 if driver else 10_000) * MIB)


def test_a_pass_on_a_cpu_is_long_enough_by_the_width_of_the_model() -> None:
    assert sufficient_tokens(2048, small=False) == sufficient_tokens(512, small=False) == 512
    assert sufficient_tokens(128, small=False) == 2048
    assert sufficient_tokens(2048, small=True) == 128
