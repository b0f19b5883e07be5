"""Attention over a packed layout as one kernel: torch's flex attention, with a block mask from the layout's `ends`.

For CUDA, where it is compiled once for all lengths; on a CPU it runs uncompiled, for tests. Inputs that are no packed
layout, or need some places only, use attention by blocks (see `attention`), and so does everything after a failure.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mg_tui.core.text import first_line
from mg_tui.engine.compute import attention
from mg_tui.engine.layout.trie import build_trie

BLOCK_SIZE = 128  # places: the default tile of torch's block masks, which its kernels are tuned for
_TOLERANCE = 3e-2  # relative, of a trial in bfloat16: its rounding, eight bits, through two products and a softmax
_mask_cache: list[tuple[Tensor, Any]] = []  # the mask that all layers of a forward pass share, and its block mask


def install(model: Any) -> None:
    """Let the language model of `model` use flex attention for packed layouts; its vision tower stays as it is."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    attention.install(model)
    AttentionInterface.register(attention.FLEX_TREE_ATTENTION, flex_attention)
    AttentionMaskInterface.register(attention.FLEX_TREE_ATTENTION, sdpa_mask)
    model.config.get_text_config()._attn_implementation = attention.FLEX_TREE_ATTENTION


def fall_back(model: Any) -> bool:
    """Use attention by blocks in `model` from now on; False if it does already."""
    config = model.config.get_text_config()
    _mask_cache.clear()
    if config._attn_implementation != attention.FLEX_TREE_ATTENTION:
        return False
    config._attn_implementation = attention.TREE_ATTENTION
    return True


def is_kernel_error(error: Exception) -> bool:
    """Whether an error may come from compiling or running the kernel: attention by blocks may then work.

    torch raises RuntimeError and subclasses of it, for its compiler too; triton has classes of its own. A CUDA error
    (a failed assertion on the device) is none of these: nothing runs on that device any more.
    """
    if isinstance(error, getattr(torch, "AcceleratorError", ())):
        return False
    return isinstance(error, RuntimeError) or type(error).__module__.split(".")[0] == "triton"


def unsuitable_reason(model: Any) -> str | None:
    """Why flex attention is not chosen automatically for `model`; None if it is."""
    weights = _reference_weight(model)
    if not weights.is_cuda:
        return "flex attention is for CUDA devices"
    if torch.cuda.get_device_capability(weights.device) < (8, 0):
        return "flex attention is used from compute capability 8.0 on"
    if weights.dtype not in (torch.bfloat16, torch.float16):
        return f"flex attention is used in 16 bits, and this is {str(weights.dtype).removeprefix('torch.')}"
    width = _head_sizes(model)[2]
    return None if width in (16, 32, 64, 128, 256) else f"flex attention is used for heads of 16 to 256, not {width}"


def try_attention(model: Any) -> str | None:
    """Run a small layout forward and backward with the model's heads; returns the problem, or None.

    It compiles the kernels that steps will use, so compile errors show before the first step.
    """
    weights, (heads, fewer, width) = _reference_weight(model), _head_sizes(model)
    # 11 blocks: a number equal to that of heads would be specialized together with it.
    rows = [[tree, *[7] * 640, branch, *[8] * 20] for tree in (1, 2) for branch in (3, 4)]
    mask = attention.to_attention_mask(torch.tensor(build_trie(rows).subtree_ends(), device=weights.device))
    random = torch.Generator().manual_seed(0)
    sizes = [(1, mask.shape[-1], count, width) for count in (heads, fewer, fewer)]
    inputs = [torch.randn(size, generator=random).to(weights).requires_grad_(True) for size in sizes]
    module, results = torch.nn.Module(), []
    try:
        for attend in (attention.tree_attention, flex_attention):
            query, key, value = (tensor.transpose(1, 2) for tensor in inputs)
            output, _none = attend(module, query, key, value, mask, scaling=width**-0.5)
            gradients = torch.autograd.grad(output.float().square().sum(), inputs)
            results.append([tensor.detach().float() for tensor in (output, *gradients)])
        differences = torch.stack(
            [(tensor - other).norm() / other.norm() for other, tensor in zip(*results, strict=True)]
        )
        largest = float(differences.amax())  # also NaN
    except Exception as error:  # any error of a compiler or kernel: attention by blocks works without
        return f"{type(error).__name__}: {first_line(error)[:300]}"
    return None if largest <= _TOLERANCE else f"its results are off by {largest:.1%}"


def flex_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """As `attention.tree_attention`, which handles the inputs that this does not support."""
    packed = attention_mask is not None and attention_mask.dtype == torch.int64
    plain = packed and attention_mask is not None and attention_mask.shape[2] == 1  # of causal attention alone
    if attention_mask is None or not plain or dropout or getattr(module, attention.QUERY_POSITIONS, None) is not None:
        return attention.tree_attention(module, query, key, value, attention_mask, dropout, scaling, **others)
    if query.is_cuda and torch.is_autocast_enabled("cuda"):  # autocast does not cast for flex
        dtype = torch.get_autocast_dtype("cuda")
        query, key, value = (tensor.to(dtype) for tensor in (query, key, value))
    if not _mask_cache or _mask_cache[0][0] is not attention_mask:
        _mask_cache[:] = [(attention_mask, make_block_mask(attention_mask.view(-1)))]
    options = {"block_mask": _mask_cache[0][1], "scale": scaling, "enable_gqa": query.shape[1] != key.shape[1]}
    return flex_kernel(query.is_cuda)(query, key, value, **options).transpose(1, 2), None


@functools.cache
def flex_kernel(compiled: bool) -> Callable[..., Any]:
    """torch's flex attention; compiled, it raises instead of running uncompiled, which would store all scores."""
    from torch.nn.attention import flex_attention as flex

    plain: Callable[..., Any] = flex.flex_attention
    return torch.compile(plain, dynamic=True, fullgraph=True) if compiled else plain


def make_block_mask(ends: Tensor) -> Any:
    """The block mask of a layout, without a mask over all of it.

    A key is seen from its own place up to where its subtree ends. So a later block of queries sees some of a block of
    keys if the last of its subtrees ends after the queries begin, and all of it if the first ends no sooner than they.

    Args:
        ends: (L,), for each place, where the subtree of its token ends.
    """
    from torch.nn.attention.flex_attention import BlockMask

    length = ends.shape[0]
    tiles = torch.nn.functional.pad(ends, (0, -length % BLOCK_SIZE)).view(
        -1, BLOCK_SIZE
    )  # queries; the last block is never full
    first, last = tiles.amin(-1), tiles.amax(-1)
    number = torch.arange(len(tiles), device=ends.device)
    later, own = number[:, None] > number, number[:, None] == number
    full = later & (first >= (number[:, None] + 1) * BLOCK_SIZE)
    some = (later & (last > number[:, None] * BLOCK_SIZE) | own) & ~full

    def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < ends[key])

    return BlockMask.from_kv_blocks(
        *_order_blocks(some), *_order_blocks(full), BLOCK_SIZE=BLOCK_SIZE, mask_mod=sees, seq_lengths=(length, length)
    )


def _order_blocks(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """The number of key blocks of each query block, and their indices, followed by the other indices."""
    order = blocks.int().argsort(dim=-1, descending=True, stable=True)
    return blocks.sum(-1).to(torch.int32)[None, None], order.to(torch.int32)[None, None]


def _reference_weight(model: Any) -> Tensor:
    """A weight in the compute dtype of `model`: that of its output layer unless it is quantized."""
    head = getattr(model.get_output_embeddings(), "weight", None)
    weight: Tensor = next(
        parameter
        for parameter in (head, *model.parameters())
        if parameter is not None and parameter.is_floating_point()
    )
    return weight


def _head_sizes(model: Any) -> tuple[int, int, int]:
    """Heads of queries, heads of keys, and their width."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None) or 1
    width = getattr(config, "head_dim", None) or getattr(config, "hidden_size", 0) // heads
    return heads, getattr(config, "num_key_value_heads", None) or heads, width
