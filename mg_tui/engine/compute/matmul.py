"""Matrix products by the faster of torch's implementations."""

import torch
from torch import Tensor
from torch.nn import functional


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x` (..., in) times `weight` (out, in) transposed, plus `bias`; without a graph.

    On a CPU in float32 by oneDNN, which torch's eager `linear` does not use. Measured on two EPYC cores against
    MKL: a few rows by a vocabulary twice as fast, other layers by 5 to 10 %. The last bits differ between the two.
    """
    fused = _onednn_linear(x, weight)
    if fused is None:
        return functional.linear(x, weight, bias)
    output: Tensor = fused(x, weight, bias, "none", [], "")
    return output


def _onednn_linear(x: Tensor, weight: Tensor) -> "torch._ops.OpOverloadPacket | None":
    if x.device.type != "cpu" or x.dtype != torch.float32 or weight.dtype != torch.float32 or not x.numel():
        return None
    if not torch.backends.mkldnn.is_available() or not torch.backends.mkldnn.enabled:
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)
