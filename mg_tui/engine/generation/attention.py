"""Attention of batched generation, as an implementation registered with transformers, `NAME`.

transformers hands every implementation the queries, keys and values of a layer. So a pass over prompts can keep the
keys and values it meets, and a decode step can attend to what was kept, without the model's own cache. What is being
done is held in a context variable, since a model's forward has no argument for it.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Final, Protocol

import torch
from torch import Tensor

NAME: Final = "batched_generation"
# Arguments by which a model asks for attention that is not plainly causal.
_OTHER: Final = ("sliding_window", "softcap", "s_aux")


class NotPlain(Exception):
    """The model asks its attention for something that is not computed here; the message says what."""


class Attending(Protocol):
    """What the attention of a forward pass does."""

    def attend(self, layer: int, module: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Attention of one layer.

        Args:
            layer: its number.
            module: the layer's attention.
            query: (batch, heads of queries, tokens, width).
            key, value: (batch, heads, tokens, width).
            scale: of the scores.

        Returns:
            (batch, tokens, heads of queries, width).
        """
        ...


_now: ContextVar[Attending | None] = ContextVar("attending", default=None)


@contextlib.contextmanager
def attending(what: Attending) -> Iterator[None]:
    """A block whose forward passes attend as `what` does."""
    token = _now.set(what)
    try:
        yield
    finally:
        _now.reset(token)


@contextlib.contextmanager
def installed(model: Any) -> Iterator[None]:
    """A block in which the language model of `model` uses this attention; its vision tower stays as it is."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, generation_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    config = model.config.get_text_config()
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before


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
    """Attention as transformers asks for it.

    Raises:
        NotPlain: the layer wants more than causal attention.
    """
    for name in _OTHER:
        if others.get(name) is not None:
            raise NotPlain(f"its attention has a {name}")
    what = _now.get()
    if what is None:
        raise NotPlain("its attention runs outside of a pass")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return what.attend(module.layer_idx, module, query, key, value, scale), None


def marker(device: torch.device) -> Tensor:
    """What a model is given as `attention_mask`, so that it makes none: transformers hands four dimensions through."""
    return torch.zeros((1, 1, 1, 1), dtype=torch.int64, device=device)
