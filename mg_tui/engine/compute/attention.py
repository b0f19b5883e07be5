"""Exact attention over a packed layout without a mask over all of it.

Registered with transformers as an attention implementation, `TREE_ATTENTION`, which does what `sdpa` does unless it
gets the mask of a tree: then the layout is cut into blocks (see `layout.attention_blocks`) and each is a call of
torch's fused attention. The mask of a tree is the array `paths` alone, in four dimensions, which transformers passes
through: one row, where the subtree of each place ends, or three, with depths and blocks of feature tokens (see
`batching.packed_layout`). A layer with a sliding window says so in its call; the window is counted in depths.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mg_tui.core.errors import FamilyError
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


def to_attention_mask(paths: Tensor) -> Tensor:
    """The `attention_mask` for a model with tree attention: `paths` (L,) or (rows, L) as (1, 1, rows, L)."""
    return paths.view(1, 1, -1, paths.shape[-1])


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
    paths = attention_mask.view(-1, attention_mask.shape[-1])
    window = effective_window(paths, others.get("sliding_window"))
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
    options = {"dropout_p": dropout, "scale": scaling}
    query_positions = getattr(module, QUERY_POSITIONS, None)
    if query_positions is not None:
        return _attend_at(query_positions, query, key, value, paths, window, options), None
    blocks = cut_blocks(paths[0].tolist(), images=_image_spans(paths))
    pieces = [tensor.split(block_lengths(blocks), dim=2) for tensor in (query, key, value)]
    starts = {block.queries[0]: number for number, block in enumerate(blocks)}
    attended = [
        _attend_block(block, number, starts, pieces, paths, window, options) for number, block in enumerate(blocks)
    ]
    return torch.cat(attended, dim=2).transpose(1, 2), None


def effective_window(paths: Tensor, window: int | None) -> int | None:
    """The sliding window of a layer, or None where no place of the layout is so deep that it matters.

    Raises:
        FamilyError: the layout has no depths to count it in.
    """
    if window is None:
        return None
    if len(paths) == 1:
        raise FamilyError(
            f"a layer attends to the last {window} tokens only, which the model family does not declare",
            why="in a packed pass the window is counted along each example",
            hint="give --layout padded",
        )
    return window if int(paths[1].amax()) >= window else None


def _image_spans(paths: Tensor) -> list[tuple[int, int]]:
    """Places [start, stop) of each block of feature tokens, in order."""
    if len(paths) == 1:
        return []
    values, counts = torch.unique_consecutive(paths[2], return_counts=True)
    spans, at = [], 0
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        if value >= 0:
            spans.append((at, at + count))
        at += count
    return spans


def _attend_at(
    query_positions: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    paths: Tensor,
    window: int | None,
    options: dict[str, Any],
) -> Tensor:
    """Attention of the places `query_positions` (n,) alone."""
    length = paths.shape[1]
    mask = visibility_mask(query_positions, torch.arange(length, device=paths.device), paths, window)
    some = functional.scaled_dot_product_attention(
        query.index_select(2, query_positions), key, value, attn_mask=mask[None, None], **options
    ).transpose(1, 2)
    return some.new_zeros((1, length, *some.shape[2:])).index_copy(1, query_positions, some)


def visibility_mask(queries: Tensor, keys: Tensor, paths: Tensor, window: int | None = None) -> Tensor:
    """The mask (queries, keys), true where a query sees a key: one before it on its path, or one of the same image.

    Args:
        queries, keys: places.
        paths: (L,) or (rows, L), see the module.
        window: the most tokens that a query sees, counted in depths; itself is one.
    """
    paths = paths.view(-1, paths.shape[-1])
    mask = (keys[None, :] <= queries[:, None]) & (queries[:, None] < paths[0][keys][None, :])
    if len(paths) == 1:
        return mask
    depths, blocks = paths[1], paths[2]
    mask |= (blocks[queries][:, None] == blocks[keys][None, :]) & (blocks[keys] >= 0)[None, :]
    if window is not None:
        mask &= depths[queries][:, None] - depths[keys][None, :] < window
    return mask


def _attend_block(
    block: AttentionBlock,
    number: int,
    starts: dict[int, int],
    pieces: list[tuple[Tensor, ...]],
    paths: Tensor,
    window: int | None,
    options: dict[str, Any],
) -> Tensor:
    before = [starts[start] for start, _stop in block.context]
    query = pieces[0][number]
    keys, values = (
        torch.cat([tensors[index] for index in (*before, number)], dim=2) if before else tensors[number]
        for tensors in pieces[1:]
    )
    if block.is_image and window is None:  # all of what is before it, and of itself
        return functional.scaled_dot_product_attention(query, keys, values, **options)
    if block.is_causal and window is None and block.context_length <= block.queries[1] - block.queries[0]:
        # Queries of the context are computed again, for a causal kernel that skips masked keys.
        if before:
            query = torch.cat([*(pieces[0][index] for index in before), query], dim=2)
        return functional.scaled_dot_product_attention(query, keys, values, is_causal=True, **options)[
            :, :, block.context_length :
        ]
    places = [torch.arange(start, stop, device=paths.device) for start, stop in (*block.context, block.queries)]
    mask = visibility_mask(places[-1], torch.cat(places), paths, window)
    return functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask[None, None], **options)
