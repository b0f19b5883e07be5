"""Output layer and cross-entropy as one function, whose gradient is computed in the forward pass.

Logits exist for some positions at a time, in one buffer: they become probabilities and then their own gradient in
place. Saved for backward is a gradient as wide as the hidden states.
"""

from typing import Any

import torch
from torch import Tensor

from mg_tui.engine.compute.matmul import linear

CHUNK_BYTES = 2**25  # of logits in float32, on a CPU: beyond its caches, and more rows bring no speed
CUDA_CHUNK_BYTES = 2**28


def fused_linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rows: Tensor,
    targets: Tensor,
    *,
    weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    chunk_bytes: int | None = None,
) -> Tensor:
    """Sum over tokens of weight x cross-entropy, in float32: `loss.token_loss_sum` of the logits of `hidden`.

    Args:
        hidden: (m, width), the input of the output layer.
        weight, bias: of the output layer: (vocabulary, width), (vocabulary,) or None; neither is trained.
        rows: (n,) for each supervised token, the row of `hidden` that predicts it; a row may predict several.
        targets: (n,) token ids.
        weights: (n,) float32, what the loss of each token is multiplied by; 1 when left out.
        label_smoothing: see `loss.token_loss_sum`.
        chunk_bytes: most bytes of logits at a time.
    """
    if weights is None:
        weights = torch.ones(targets.shape, dtype=torch.float32, device=targets.device)
    if chunk_bytes is None:
        chunk_bytes = CUDA_CHUNK_BYTES if hidden.is_cuda else CHUNK_BYTES
    size = max(1, chunk_bytes // (4 * weight.shape[0]))
    loss: Tensor = _FusedLinearCrossEntropy.apply(hidden, weight, bias, rows, targets, weights, label_smoothing, size)
    return loss


class _FusedLinearCrossEntropy(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rows: Tensor,
        targets: Tensor,
        weights: Tensor,
        smoothing: float,
        size: int,
    ) -> Tensor:
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        learn = ctx.needs_input_grad[0]
        gradient = torch.empty_like(hidden, dtype=torch.float32) if learn else None
        inputs = hidden.to(weight.dtype)
        for start in range(0, hidden.shape[0], size):
            stop = min(start + size, hidden.shape[0])
            in_chunk = (rows >= start) & (rows < stop)
            logits = linear(inputs[start:stop], weight, bias).float()
            total += _chunk_loss(logits, rows[in_chunk] - start, targets[in_chunk], weights[in_chunk], smoothing, learn)
            if gradient is not None:
                gradient[start:stop] = linear(logits.to(weight.dtype), weight.t())
        if gradient is not None:
            ctx.save_for_backward(gradient)
        ctx.dtype = hidden.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (gradient * upstream[0]).to(ctx.dtype), None, None, None, None, None, None, None


def _chunk_loss(
    logits: Tensor, rows: Tensor, targets: Tensor, weights: Tensor, smoothing: float, learn: bool
) -> Tensor:
    """The loss of some rows; with `learn`, `logits` (rows, vocabulary) become the gradient of themselves."""
    logits -= logits.amax(-1, keepdim=True)
    right = logits[rows, targets]
    mean = logits.mean(-1) if smoothing else None
    sums = logits.exp_().sum(-1)
    each = sums.log()[rows] - (1 - smoothing) * right
    if mean is not None:
        each = each - smoothing * mean[rows]
    if learn:
        # Of a token: weight x (softmax - (1 - e) at its target - e / V everywhere).
        mass = torch.zeros_like(sums).index_add_(0, rows, weights)
        logits *= (mass / sums)[:, None]
        if smoothing:
            logits -= (mass * (smoothing / logits.shape[1]))[:, None]
        logits.index_put_((rows, targets), -(1 - smoothing) * weights, accumulate=True)
    return (each * weights).sum()
