"""The attention implementation of batched generation, registered with transformers as `GENERATION_ATTENTION`.

transformers passes the queries, keys and values of every layer to an attention implementation. So a prefill stores the
keys and values it gets, and a decode step attends to the stored ones, without the model's own cache. What computes the
attention of the current forward pass is in a context variable, since a model's forward has no argument for it.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
from torch import Tensor

GENERATION_ATTENTION: Final = "batched_generation"
# Arguments with which a model asks for something other than causal attention.
_UNSUPPORTED_ARGUMENTS: Final = ("softcap", "s_aux")


class UnsupportedAttention(Exception):
    """The model asks for attention that is not implemented here; the message says which."""


@dataclass(frozen=True, slots=True)
class LayerCall:
    """A layer's attention: its index, its module, the scale of the scores, and how many tokens it sees (None: all)."""

    index: int
    module: Any
    scale: float
    window: int | None = None


class AttentionLayers(Protocol):
    """Computes the attention of a forward pass."""

    def attend(self, layer: LayerCall, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention of one layer.

        Args:
            layer: which one.
            query: (batch, query heads, tokens, width).
            key, value: (batch, heads, tokens, width).

        Returns:
            (batch, tokens, query heads, width).
        """
        ...


_current: ContextVar[AttentionLayers | None] = ContextVar("generation_attention", default=None)


@contextlib.contextmanager
def computed_by(layers: AttentionLayers) -> Iterator[None]:
    """Forward passes within the block use `layers`."""
    token = _current.set(layers)
    try:
        yield
    finally:
        _current.reset(token)


@contextlib.contextmanager
def installed(model: Any) -> Iterator[None]:
    """Use this attention in the language model of `model` within the block; its vision tower is unchanged."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(GENERATION_ATTENTION, generation_attention)
    AttentionMaskInterface.register(GENERATION_ATTENTION, sdpa_mask)
    config = model.config.get_text_config()
    previous = config._attn_implementation
    config._attn_implementation = GENERATION_ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = previous


def generation_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention with transformers' interface.

    Raises:
        UnsupportedAttention: the layer needs more than causal attention.
    """
    for name in _UNSUPPORTED_ARGUMENTS:
        if others.get(name) is not None:
            raise UnsupportedAttention(f"its attention uses {name}")
    layers = _current.get()
    if layers is None:
        raise UnsupportedAttention("attention was called outside of a generation pass")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    call = LayerCall(module.layer_idx, module, scale, others.get("sliding_window"))
    return layers.attend(call, query, key, value), None


def placeholder_mask(device: torch.device) -> Tensor:
    """An `attention_mask` that transformers passes through unchanged because it has four dimensions."""
    return torch.zeros((1, 1, 1, 1), dtype=torch.int64, device=device)
