"""Exact attention over a packed layout without a mask over all of it.

Registered with transformers as an attention implementation, `TREE_ATTENTION`, which does what `sdpa` does unless it
gets the mask of a tree: then the layout is cut into blocks (see `layout.attention_blocks`) and each is a call of
torch's fused attention. The mask of a tree is the array `ends` alone, in four dimensions, which transformers passes
through.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mg_tui.engine.layout.attention_blocks import AttentionBlock, block_lengths, cut_blocks

TREE_ATTENTION = "sdpa_tree"
FLEX_TREE_ATTENTION = "flex_tree"  # see `flex_attention`, which takes the same masks
QUERY_POSITIONS = "tree_queries"  # attribute of a module: the only places whose attention is needed, if set


def install(model: Any) -> None:
    """Let the language model of `model` use tree attention; its vision tower stays as it is."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(TREE_ATTENTION, tree_attention)
    AttentionMaskInterface.register(TREE_ATTENTION, sdpa_mask)
    model.config.get_text_config()._attn_implementation = TREE_ATTENTION


def is_installed(model: Any) -> bool:
    """Whether this model, which may be inside PEFT, takes the masks of `to_attention_mask`."""
    config = getattr(model, "config", None)
    return config is not None and config.get_text_config()._attn_implementation in (TREE_ATTENTION, FLEX_TREE_ATTENTION)


def to_attention_mask(ends: Tensor) -> Tensor:
    """The `attention_mask` for a model with tree attention: `ends` (L,) as (1, 1, 1, L)."""
    return ends.view(1, 1, 1, -1)


def tree_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention with transformers' interface: (1, heads, L, width) each; keys and values may have fewer heads.

    Returns:
        (1, L, heads, width); zeros at places that `QUERY_POSITIONS` of the module leaves out.
    """
    if attention_mask is None or attention_mask.is_floating_point() or attention_mask.dtype == torch.bool:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        arguments = (module, query, key, value, attention_mask)
        output, _none = sdpa_attention_forward(*arguments, dropout=dropout, scaling=scaling, **others)
        return output, None
    ends = attention_mask.view(-1)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
    options = {"dropout_p": dropout, "scale": scaling}
    query_positions = getattr(module, QUERY_POSITIONS, None)
    if query_positions is not None:
        return _attend_at(query_positions, query, key, value, ends, options), None
    blocks = cut_blocks(ends.tolist())
    pieces = [tensor.split(block_lengths(blocks), dim=2) for tensor in (query, key, value)]
    starts = {block.queries[0]: number for number, block in enumerate(blocks)}
    attended = [_attend_block(block, number, starts, pieces, ends, options) for number, block in enumerate(blocks)]
    return torch.cat(attended, dim=2).transpose(1, 2), None


def _attend_at(
    query_positions: Tensor, query: Tensor, key: Tensor, value: Tensor, ends: Tensor, options: dict[str, Any]
) -> Tensor:
    """Attention of the places `query_positions` (n,) alone."""
    mask = visibility_mask(query_positions, torch.arange(ends.shape[0], device=ends.device), ends)
    some = functional.scaled_dot_product_attention(
        query.index_select(2, query_positions), key, value, attn_mask=mask[None, None], **options
    ).transpose(1, 2)
    return some.new_zeros((1, ends.shape[0], *some.shape[2:])).index_copy(1, query_positions, some)


def visibility_mask(queries: Tensor, keys: Tensor, ends: Tensor) -> Tensor:
    """The mask (queries, keys), true where a query sees a key; `ends` of `trie.Trie.subtree_ends`."""
    return (keys[None, :] <= queries[:, None]) & (queries[:, None] < ends[keys][None, :])


def _attend_block(
    block: AttentionBlock,
    number: int,
    starts: dict[int, int],
    pieces: list[tuple[Tensor, ...]],
    ends: Tensor,
    options: dict[str, Any],
) -> Tensor:
    before = [starts[start] for start, _stop in block.context]
    query = pieces[0][number]
    keys, values = (
        torch.cat([tensors[index] for index in (*before, number)], dim=2) if before else tensors[number]
        for tensors in pieces[1:]
    )
    if block.is_causal and block.context_length <= block.queries[1] - block.queries[0]:
        # Queries of the context are computed again, for a causal kernel that skips masked keys.
        if before:
            query = torch.cat([*(pieces[0][index] for index in before), query], dim=2)
        return functional.scaled_dot_product_attention(query, keys, values, is_causal=True, **options)[
            :, :, block.context_length :
        ]
    places = [torch.arange(start, stop, device=ends.device) for start, stop in (*block.context, block.queries)]
    mask = visibility_mask(places[-1], torch.cat(places), ends)
    return functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask[None, None], **options)
