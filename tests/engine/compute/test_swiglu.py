"""Gated blocks as one function: the same bits, less kept; whatever is built otherwise is left alone."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mg_tui.engine.compute import swiglu


class Block(nn.Module):  # type: ignore[misc]
    def __init__(self, act: nn.Module | None = None):
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = nn.Linear(8, 24), nn.Linear(8, 24), nn.Linear(24, 8)
        self.act_fn = act or nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))
        return result


class Clamped(Block):
    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.down_proj((self.act_fn(self.gate_proj(x)) * self.up_proj(x)).clamp(max=0.01))
        return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_results_and_gradients_are_the_same_to_the_last_bit(dtype: torch.dtype) -> None:
    actual = []
    for item in (lambda gate, up: functional.silu(gate) * up, swiglu.swiglu):
        torch.manual_seed(0)
        gate, up = (torch.randn(5, 24).to(dtype).requires_grad_() for _ in range(2))
        result = item(gate, up)
        (result * torch.linspace(-1, 1, 24)).sum().backward()
        actual.append((result, gate.grad, up.grad))
    for plain, fused in zip(*actual, strict=True):
        assert torch.equal(plain, fused)


def test_gradients_are_those_of_differences() -> None:
    gate, up = (torch.randn(3, 4, dtype=torch.float64).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(swiglu.swiglu, (gate, up))


def test_one_tensor_in_four_less_is_kept() -> None:
    def kept(block: nn.Module) -> int:
        wide: set[int] = set()

        def count(tensor: Tensor) -> Tensor:
            if tensor.numel() == 5 * 24:
                wide.add(tensor.data_ptr())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            result = block(torch.randn(1, 5, 8, requires_grad=True))
        assert result.requires_grad
        return len(wide)

    block = Block()
    plainly = kept(block)
    assert swiglu.fuse(block) == 1
    assert (plainly, kept(block)) == (4, 3)


@pytest.mark.parametrize("block", [Block(nn.GELU()), Clamped()], ids=["another activation", "something of its own"])
def test_other_blocks_are_left_alone(block: nn.Module) -> None:
    assert swiglu.fuse(block) == 0
    assert "forward" not in vars(block)


def test_a_block_somebody_changed_is_left_alone() -> None:
    block: Any = Block()
    block.forward = lambda x: x
    assert swiglu.fuse(block) == 0
    assert swiglu.fuse(nn.Sequential(nn.Linear(2, 2))) == 0
