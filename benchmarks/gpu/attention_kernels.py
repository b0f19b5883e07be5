"""Attention over a packed layout: by blocks and by flex attention as the engine does them, and under a whole mask."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from machine import Device
from torch.nn import functional

from mg_tui.engine.batching.packed_layout import dense_tree_mask
from mg_tui.engine.compute import attention, flex_attention
from mg_tui.engine.layout.trie import build_trie

HEADS, WIDTH = 28, 128  # of the 7B, its keys repeated as they are


def make_layout(images: int, shown: int, questions: int, text: int) -> torch.Tensor:
    """Ends of the trie of `images` of `shown` tokens, each with `questions` of `text` tokens."""
    keys = [
        [-1 - image] * shown + [1 + image * questions * text + question * text + at for at in range(text)]
        for image in range(images)
        for question in range(questions)
    ]
    return torch.tensor(build_trie(keys).subtree_ends())


def measure(device: Device, repeats: int) -> dict[str, Any]:
    """Milliseconds of forward and backward by each way, the largest difference to the whole mask, and the peak."""
    found: dict[str, Any] = {"cases": [], "not_done": {}}
    shapes = [(2, 200, 3, 70)] if device.dry else [(4, 256, 5, 64), (8, 256, 5, 64), (4, 1296, 5, 64), (8, 1024, 1, 64)]
    for shape in shapes:
        ends = make_layout(*shape).to(device.name)
        case: dict[str, Any] = {"images": shape[0], "shown": shape[1], "questions": shape[2], "text": shape[3]}
        case["length"] = len(ends)
        heads = 2 if device.dry else HEADS
        size = (1, heads, len(ends), WIDTH)
        dtype = torch.float32 if device.dry else torch.bfloat16
        torch.manual_seed(0)
        given = [torch.randn(size, dtype=dtype, device=device.name, requires_grad=True) for _ in range(3)]
        expected: torch.Tensor | None = None
        for name, make in (("whole mask", full_mask), ("blocks", block_attention), ("flex", time_flex_attention)):
            try:
                run = make(ends, device)
                case[name] = time_attention(run, given, device, repeats)
                output = run(*given).detach().float()
            except Exception as error:  # a kernel that is not there is said, and the others go on
                found["not_done"][f"{name} attention"] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
                continue
            expected = output if expected is None else expected
            case[name]["difference"] = float((output - expected).abs().max())
        found["cases"].append(case)
    return found


Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def full_mask(ends: torch.Tensor, _device: Device) -> Attention:
    """torch's attention under the mask of the whole tree."""
    mask = dense_tree_mask(ends)
    return lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def block_attention(ends: torch.Tensor, _device: Device) -> Attention:
    """The engine's own."""
    given = attention.to_attention_mask(ends)
    module = torch.nn.Module()
    return lambda q, k, v: attention.tree_attention(module, q, k, v, given)[0].transpose(1, 2)


def time_flex_attention(ends: torch.Tensor, device: Device) -> Attention:
    """The engine's own on CUDA: torch's flex attention, compiled, with the tree as its block mask."""
    if device.dry:
        raise RuntimeError("needs a CUDA device")
    given = attention.to_attention_mask(ends)
    module = torch.nn.Module()
    return lambda q, k, v: flex_attention.flex_attention(module, q, k, v, given)[0].transpose(1, 2)


def time_attention(run: Attention, given: list[torch.Tensor], device: Device, repeats: int) -> dict[str, Any]:
    """Median milliseconds of forward and backward, after two that are not counted, and the peak of tensors."""
    times = []
    for number in range(repeats + 2):
        if number == 2:
            device.settle()
        device.wait()
        started = time.perf_counter()
        run(*given).sum().backward()
        device.wait()
        times.append(time.perf_counter() - started)
        for one in given:
            one.grad = None
    return {"milliseconds": 1000 * statistics.median(times[2:]), "peak": device.peaks()["allocated"]}
