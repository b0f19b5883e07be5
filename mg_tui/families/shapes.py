"""Helpers for `ModelFamily.shape`: stacks of transformer blocks as most configurations describe them. No torch.

The kit compares the parameters of a family's shape with those of the model.
"""

from collections.abc import Mapping
from typing import Any

from mg_tui.hardware.model_shape import LinearLayers, TransformerStack


def decoder_stack(
    text: Mapping[str, Any], *, qkv_bias: bool = False, norms: int = 2, head_norms: bool = False
) -> TransformerStack:
    """A decoder of gated blocks with grouped queries.

    Args:
        text: the configuration of the text part.
        qkv_bias: queries, keys and values have biases.
        norms: of each block, as wide as its hidden state; one more follows the last block.
        head_norms: queries and keys are normalized for each head.

    Raises:
        KeyError: a size is missing.
    """
    hidden, inner, depth = text["hidden_size"], text["intermediate_size"], text["num_hidden_layers"]
    heads = text["num_attention_heads"]
    kv_heads, head = text["num_key_value_heads"], text.get("head_dim") or hidden // heads
    linears = (
        LinearLayers("q_proj", hidden, heads * head, depth, bias=qkv_bias),
        LinearLayers("k_proj", hidden, kv_heads * head, depth, bias=qkv_bias),
        LinearLayers("v_proj", hidden, kv_heads * head, depth, bias=qkv_bias),
        LinearLayers("o_proj", heads * head, hidden, depth),
        LinearLayers("gate_proj", hidden, inner, depth),
        LinearLayers("up_proj", hidden, inner, depth),
        LinearLayers("down_proj", inner, hidden, depth),
    )
    other = (norms * depth + 1) * hidden + (2 * depth * head if head_norms else 0)
    return TransformerStack(depth, hidden, inner, heads, kv_heads, head, linears, other)


def tower_stack(
    depth: int, width: int, inner: int, heads: int, other: int, *, fused: bool, rotary: bool = False
) -> TransformerStack:
    """A vision tower of plain blocks, all with biases.

    Args:
        depth, width, inner, heads: of the blocks.
        other: parameters outside of linear layers.
        fused: queries, keys and values are one matrix.
        rotary: it has rotary embeddings, which are applied in float32.
    """
    attention = (
        (LinearLayers("attn.qkv", width, 3 * width, depth, bias=True),)
        if fused
        else tuple(LinearLayers(name, width, width, depth, bias=True) for name in ("q_proj", "k_proj", "v_proj"))
    )
    linears = (
        *attention,
        LinearLayers("attn.proj", width, width, depth, bias=True),
        LinearLayers("mlp.fc1", width, inner, depth, bias=True),
        LinearLayers("mlp.fc2", inner, width, depth, bias=True),
    )
    return TransformerStack(
        depth,
        width,
        inner,
        heads,
        heads,
        width // heads,
        linears,
        other,
        gated=False,
        fused=fused,
        rotary_in_float32=rotary,
    )
