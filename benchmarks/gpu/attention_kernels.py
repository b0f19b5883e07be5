"""Attention over a packed layout, forward and backward: flex, block attention, one full mask, and flash by path.

By path: the tokens of every row are gathered into a sequence of its own, shared tokens once per row, and flash
attention processes all sequences in one call (`flash_attn_varlen`); of a shared token one of its results is used.
"""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from device import Device, median_seconds, open_device
from inputs import load_config
from packed_pass import PassShape, random_sequences
from tasks import BenchmarkSetting, TaskReport, TaskSkipped
from torch import Tensor
from torch.nn import functional

from mg_tui.engine.batching.packed_layout import dense_tree_mask
from mg_tui.engine.compute import attention, flex_attention
from mg_tui.engine.layout.trie import Trie, build_trie

# Of queries (1, heads, L, width), and keys and values with fewer heads.
AttentionFunction = Callable[[Tensor, Tensor, Tensor], Tensor]


def compare_kernels(report: TaskReport, setting: BenchmarkSetting) -> None:
    """A task: milliseconds, peak memory, and difference from block attention, of every method at several lengths."""
    device, config = open_device(setting), load_config(setting)
    text = config.get("text_config", config)
    heads, key_heads = int(text["num_attention_heads"]), int(text["num_key_value_heads"])
    sizes = (heads, key_heads, int(text["hidden_size"]) // heads)
    for tokens in (400,) if setting.dry else (2048, 8192, 32768):
        sequences, images = random_sequences(PassShape(8 if setting.dry else 32, tokens, 5), config)
        trie = build_trie(sequences)
        ends = torch.tensor(trie.subtree_ends(), device=device.name)
        case: dict[str, Any] = {"images": images, "rows": len(sequences), "laid_out": trie.length}
        case["path_tokens"] = trie.tokens
        inputs = _random_inputs(sizes, trie.length, device)
        reference: list[Tensor] | None = None
        for name, make_function in METHODS.items():
            if report.seconds_left() < 2:
                case[name] = {"why_not": "no time was left"}
                continue
            try:
                attend = make_function(trie, ends, setting)
                results = _output_and_gradients(attend, inputs)
                reference = results if reference is None else reference
                case[name] = {**_measure(attend, inputs, device), "difference": _difference(results, reference)}
            except TaskSkipped as skipped:
                case[name] = {"why_not": str(skipped)}
            except Exception as error:  # e.g. a missing kernel or out of memory: the other methods follow
                lines = str(error).strip().splitlines() or [""]
                case[name] = {"why_not": f"{type(error).__name__}: {lines[0][:200]}"}
        report.add("cases", case)


def _random_inputs(sizes: tuple[int, int, int], length: int, device: Device) -> list[Tensor]:
    heads, key_heads, width = sizes
    torch.manual_seed(0)
    dtype = torch.float32 if device.dry else torch.bfloat16
    shapes = [(1, count, length, width) for count in (heads, key_heads, key_heads)]
    return [torch.randn(shape, dtype=dtype, device=device.name, requires_grad=True) for shape in shapes]


def block_attention(_trie: Trie, ends: Tensor, _setting: BenchmarkSetting) -> AttentionFunction:
    """The engine's method without flex attention."""
    mask, module = attention.to_attention_mask(ends), torch.nn.Module()
    return lambda q, k, v: attention.tree_attention(module, q, k, v, mask)[0].transpose(1, 2)


def flex(_trie: Trie, ends: Tensor, setting: BenchmarkSetting) -> AttentionFunction:
    """The engine's method on CUDA, compiled; it has no backward on a CPU."""
    setting.require_cuda()
    mask, module = attention.to_attention_mask(ends), torch.nn.Module()
    return lambda q, k, v: flex_attention.flex_attention(module, q, k, v, mask)[0].transpose(1, 2)


def full_mask(_trie: Trie, ends: Tensor, _setting: BenchmarkSetting) -> AttentionFunction:
    """torch's attention with a mask of the whole tree."""
    mask = dense_tree_mask(ends)

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        groups = query.shape[1] // key.shape[1]
        key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)

    return attend


def flash_by_path(trie: Trie, ends: Tensor, setting: BenchmarkSetting) -> AttentionFunction:
    """Flash attention over the sequence of every row."""
    paths = [trie.layout_indices(number) for number in range(len(trie.paths))]
    places = [place for path in paths for place in path]
    first_use: dict[int, int] = {}
    for position, place in enumerate(places):
        first_use.setdefault(place, position)
    gather = torch.tensor(places, device=ends.device)
    scatter = torch.tensor([first_use[place] for place in range(trie.length)], device=ends.device)
    offsets = torch.tensor([0, *(len(path) for path in paths)], device=ends.device).cumsum(0).to(torch.int32)
    longest = max(len(path) for path in paths)
    kernel = varlen_kernel(setting)

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        gathered = [tensor[0].transpose(0, 1).index_select(0, gather) for tensor in (query, key, value)]
        return kernel(*gathered, offsets, longest).index_select(0, scatter).transpose(0, 1)[None]

    return attend


def varlen_kernel(setting: BenchmarkSetting) -> Callable[..., Tensor]:
    """Causal attention of concatenated sequences, (tokens, heads, width) each: of flash-attn if it is installed, else
    torch's own flash kernel; on a CPU one sequence at a time."""
    if setting.dry:
        return _attend_sequentially
    try:
        from flash_attn import flash_attn_varlen_func

        return lambda q, k, v, offsets, longest: flash_attn_varlen_func(
            q, k, v, offsets, offsets, longest, longest, causal=True
        )
    except ImportError:
        forward = torch.ops.aten._flash_attention_forward
        return lambda q, k, v, offsets, longest: forward(q, k, v, offsets, offsets, longest, longest, 0.0, True, False)[
            0
        ]


def _attend_sequentially(query: Tensor, key: Tensor, value: Tensor, offsets: Tensor, _longest: int) -> Tensor:
    outputs = []
    for start, stop in itertools.pairwise(offsets.tolist()):
        q, k, v = (tensor[start:stop].transpose(0, 1)[None] for tensor in (query, key, value))
        output = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        outputs.append(output[0].transpose(0, 1))
    return torch.cat(outputs)


METHODS: dict[str, Callable[[Trie, Tensor, BenchmarkSetting], AttentionFunction]] = {
    "blocks": block_attention,
    "flex": flex,
    "flash by path": flash_by_path,
    "full mask": full_mask,
}


def _output_and_gradients(attend: AttentionFunction, inputs: list[Tensor]) -> list[Tensor]:
    """The output, and the gradients of the sum of its squares, in float32."""
    output = attend(*inputs)
    gradients = torch.autograd.grad(output.float().square().sum(), inputs)
    return [tensor.detach().float() for tensor in (output, *gradients)]


def _difference(results: list[Tensor], reference: list[Tensor]) -> float:
    pairs = zip(results, reference, strict=True)
    return max(float((tensor - expected).norm() / expected.norm()) for tensor, expected in pairs)


def _measure(attend: AttentionFunction, inputs: list[Tensor], device: Device) -> dict[str, Any]:
    def run() -> None:
        attend(*inputs).sum().backward()
        for tensor in inputs:
            tensor.grad = None

    run()
    device.reset_peaks()
    seconds = median_seconds(run, device)
    return {"milliseconds": 1000 * seconds, "peak": device.peaks()["allocated"]}
