"""LoRA layers as one function each: y = x W' + s (x A') B', with fewer intermediate tensors.

PEFT's forward allocates and adds whole outputs: of the base layer, the adapter, and the scaled adapter. This one adds
the adapter's product to the base layer's output in place, forward and backward, and saves only x and x A'.
"""

from typing import Any

import torch
from torch import Tensor, nn

from mg_tui.engine.compute.matmul import linear


def fuse(model: Any) -> int:
    """Replace the forward of plain LoRA layers of `model` by one function; returns their number.

    Plain: a linear base layer in float32 that is not trained, one adapter, no dropout, no DoRA. Others are unchanged.
    """
    from peft.tuners.lora.layer import Linear

    fused = 0
    for module in model.modules():
        if type(module) is Linear and _is_plain(module):
            module.forward = _FusedForward(module, module.forward)
            fused += 1
    return fused


def _is_plain(layer: Any) -> bool:
    base = layer.get_base_layer()
    if type(base) is not nn.Linear or base.weight.dtype != torch.float32 or base.weight.requires_grad:
        return False
    names = list(layer.active_adapters)
    if len(names) != 1 or names[0] not in layer.lora_A or names[0] in layer.lora_variant:
        return False
    (name,) = names
    inner, outer = layer.lora_A[name], layer.lora_B[name]
    plain = all(type(part) is nn.Linear and part.weight.dtype == torch.float32 for part in (inner, outer))
    return plain and inner.bias is None and outer.bias is None and isinstance(layer.lora_dropout[name], nn.Identity)


class _FusedForward:
    """Replaces a layer's `forward`; calls the original one in all other cases."""

    def __init__(self, layer: Any, own: Any):
        self.layer = layer
        self.own = own
        (self.name,) = layer.active_adapters

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        layer = self.layer
        ordinary = not (args or kwargs or layer.disable_adapters or layer.merged or torch.is_autocast_enabled("cpu"))
        if not ordinary or x.dtype != torch.float32 or x.device.type != "cpu":
            return self.own(x, *args, **kwargs)
        base, scaling = layer.get_base_layer(), float(layer.scaling[self.name])
        inner, outer = layer.lora_A[self.name].weight, layer.lora_B[self.name].weight
        return _FusedLora.apply(x, base.weight, base.bias, inner, outer, scaling)


class _FusedLora(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, inner: Tensor, outer: Tensor, scaling: float
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        low = linear(rows, inner)
        output = linear(rows, weight, bias).addmm_(low, outer.t(), alpha=scaling)
        ctx.save_for_backward(rows, low, weight, inner, outer)
        ctx.scaling, ctx.shape = scaling, x.shape
        return output.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        rows, low, weight, inner, outer = ctx.saved_tensors
        above = upstream[0].reshape(-1, upstream[0].shape[-1])
        low_gradient = linear(above, outer.t()).mul_(ctx.scaling)
        x_wanted, _, _, inner_wanted, outer_wanted, _ = ctx.needs_input_grad
        below = None
        if x_wanted:
            below = linear(above, weight.t()).addmm_(low_gradient, inner).view(ctx.shape)
        inner_gradient = linear(low_gradient.t(), rows.t()) if inner_wanted else None
        outer_gradient = linear(low.t(), above.t()).t().mul(ctx.scaling) if outer_wanted else None
        return below, None, None, inner_gradient, outer_gradient, None
