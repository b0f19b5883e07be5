"""What CUDA does otherwise than the CPU, for tensors on the CPU that stand for a GPU's."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch.nn import functional


@contextmanager
def emulate_cuda() -> Iterator[None]:
    """Attention, dropout and the state of autocast as they are on CUDA."""
    on_cpu = torch.is_autocast_enabled

    def dropout(inputs: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
        return torch.native_dropout(inputs, p, True)[0] if training and p else inputs

    with (
        mock.patch.object(functional, "scaled_dot_product_attention", cuda_attention),
        mock.patch.object(functional, "dropout", dropout),
        mock.patch.object(torch, "is_autocast_enabled", lambda *device: on_cpu(*(device or ("cpu",)))),
    ):
        yield


def cuda_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """What torch dispatches to on CUDA: flash without a mask, memory-efficient with one, made into numbers to add."""
    if torch.is_autocast_enabled("cpu"):
        query, key, value = (tensor.to(torch.bfloat16) for tensor in (query, key, value))
    if attn_mask is None:
        flash = torch.ops.aten._scaled_dot_product_flash_attention
        return flash(query, key, value, dropout_p, is_causal, False, scale=scale)[0]
    bias = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(~attn_mask, float("-inf"))
    bias = bias.expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention
    return efficient(query, key, value, bias, True, dropout_p, is_causal, scale=scale)[0]
