"""Gated feed-forward blocks, silu(gate) * up, as one function that saves one tensor less for backward.

Usually `silu(gate)` is saved besides `gate` and `up`, each as wide as the block: a quarter of what the block saves.
This function computes it again in backward, by the same operations, so that results are bit for bit the same.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mg_tui.core.text import first_line

_PROJECTIONS = ("gate_proj", "up_proj", "down_proj")


def fuse(model: Any, on_error: Callable[[str], None] | None = None) -> int:
    """Replace the forward of gated blocks of `model` by one function; returns their number.

    A block: `down_proj(silu(gate_proj(x)) * up_proj(x))`, as its parts and a trial show. Others are left unchanged.

    Args:
        model: searched for blocks.
        on_error: called with the class of a block whose trial raised an error, and that error.
    """
    fused, tried = 0, dict[Any, bool]()
    for module in model.modules():
        if not _looks_like_swiglu(module):
            continue
        kind = type(module), type(module.act_fn)  # blocks of one kind compute alike: one trial of each
        if kind not in tried:
            tried[kind] = _is_swiglu(module, on_error)
        if tried[kind]:
            module.forward = _SwiGLUForward(module)
            fused += 1
    return fused


class _SwiGLUForward:
    """Replaces a block's `forward`."""

    def __init__(self, module: Any):
        self.module = module

    def __call__(self, x: Tensor) -> Tensor:
        module = self.module
        output: Tensor = module.down_proj(swiglu(module.gate_proj(x), module.up_proj(x)))
        return output


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, of one shape."""
    output: Tensor = _SwiGLU.apply(gate, up)
    return output


class _SwiGLU(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:
        gate, up = ctx.saved_tensors
        (above,) = upstream
        gate_wanted, up_wanted = ctx.needs_input_grad
        return (
            torch.ops.aten.silu_backward(above * up, gate) if gate_wanted else None,
            functional.silu(gate).mul_(above) if up_wanted else None,
        )


def _looks_like_swiglu(module: Any) -> bool:
    if not all(isinstance(getattr(module, part, None), nn.Module) for part in _PROJECTIONS):
        return False
    if getattr(module.forward, "__func__", None) is not type(module).forward:
        return False  # changed by another library
    return type(getattr(module, "act_fn", None)).__name__ in ("SiLU", "SiLUActivation")


def _is_swiglu(module: Any, on_error: Callable[[str], None] | None) -> bool:
    """Whether the block's own forward computes what `_SwiGLUForward` does."""
    weight = next((weight for weight in module.parameters() if weight.is_floating_point()), None)
    width = getattr(module.gate_proj, "in_features", None)
    if weight is None or not isinstance(width, int):
        return False
    x = torch.linspace(-2, 2, 2 * width, dtype=weight.dtype, device=weight.device).view(1, 2, width)
    training = module.training
    module.eval()  # dropout of adapters is random
    try:
        with torch.no_grad():
            return bool(torch.equal(module(x), _SwiGLUForward(module)(x)))
    except (RuntimeError, TypeError, ValueError, AttributeError, LookupError) as error:
        if on_error is not None:
            on_error(f"{type(module).__name__}: {type(error).__name__}: {first_line(error)}")
        return False
    finally:
        module.train(training)
