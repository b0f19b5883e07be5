"""Matrix products, by the quicker of what torch has for them."""

import torch
from torch import Tensor
from torch.nn import functional


def linear(given: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`given` (..., in) times `weight` (out, in) transposed, plus `bias`; without a graph.

    On a CPU in float32 by oneDNN, which torch's own `linear` leaves to its compiler. Measured on two EPYC cores against
    MKL: a few rows by a vocabulary twice as fast, other layers by 5 to 10 %. The last bits differ between the two.
    """
    fused = _onednn_linear(given, weight)
    if fused is None:
        return functional.linear(given, weight, bias)
    found: Tensor = fused(given, weight, bias, "none", [], "")
    return found


def _onednn_linear(given: Tensor, weight: Tensor) -> "torch._ops.OpOverloadPacket | None":
    if given.device.type != "cpu" or given.dtype != torch.float32 or weight.dtype != torch.float32 or not given.numel():
        return None
    if not torch.backends.mkldnn.is_available() or not torch.backends.mkldnn.enabled:
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)
