"""The floor of a step: multiply-adds counted by hand, and by torch on a real forward and backward pass."""

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mg_tui.families.registry import load_registry
from mg_tui.hardware.model_shape import LinearLayers, ModelShape, TransformerStack


@pytest.fixture
def floor(benchmark_module: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark_module("roofline")


def small_shape() -> ModelShape:
    """Two blocks of width 8 with one key head of 4; a tower of one block of width 4; 4 patches make a token."""
    attention = (
        LinearLayers("q", 8, 8, 2),
        LinearLayers("k", 8, 4, 2),
        LinearLayers("v", 8, 4, 2),
        LinearLayers("o", 8, 8, 2),
    )
    language = TransformerStack(
        2, 8, 16, 2, 1, 4, (*attention, LinearLayers("up", 8, 16, 2), LinearLayers("down", 16, 8, 2)), 0, gated=False
    )
    vision = TransformerStack(1, 4, 8, 1, 1, 4, (LinearLayers("qkv", 4, 12), LinearLayers("o", 4, 4)), 0)
    return ModelShape(language, vision, (LinearLayers("merge", 16, 8),), 0, 10, True, 4, 16, 12)


def test_a_step_is_counted_by_what_each_place_needs(floor: ModuleType) -> None:
    block, cached = 8 * 8 + 8 * 4 * 2 + 8 * 8 + 8 * 16 * 2, 8 * 4 * 2
    tokens = floor.multiply_adds(small_shape(), floor.StepWork(tokens=3, positions=0, patches=0), adapter=5)
    assert tokens == 3 * (2 * (block + cached) + 3 * 5)
    positions = floor.multiply_adds(small_shape(), floor.StepWork(tokens=0, positions=2, patches=0), adapter=5)
    assert positions == 2 * 2 * (block - cached + 8 * 10)
    patches = floor.multiply_adds(small_shape(), floor.StepWork(tokens=0, positions=0, patches=4), adapter=5)
    assert patches == 4 * (4 * 12 + 4 * 4 + 12 * 4) + 16 * 8


def test_torch_counts_no_less(floor: ModuleType) -> None:
    """Plain training of text, the output layer everywhere: at least the floor, and that and attention at most."""
    from mg_tui.families.contract import LoadRequest
    from mg_tui.preflight.memory import model_shape

    model = load_registry().resolve("tiny")
    family = model.family
    assert family is not None
    loaded = family.load_model(family, LoadRequest(source=model.source, dtype="float32", device="cpu"))
    loaded.requires_grad_(False)
    hidden = loaded.get_input_embeddings()
    ids = torch.arange(40)[None] + 100
    embedded = hidden(ids).requires_grad_()
    with FlopCounterMode(display=False) as counted:
        logits = loaded(inputs_embeds=embedded, position_ids=torch.arange(40).expand(3, 1, 40)).logits
        logits.sum().backward()
    done = counted.get_total_flops() / 2  # it counts multiplications and additions
    needed = floor.multiply_adds(model_shape(model), floor.StepWork(tokens=40, positions=40, patches=0), adapter=0)
    assert needed <= done <= 1.1 * needed


def test_our_runs_are_told_beside_the_floor(floor: ModuleType) -> None:
    measured = floor.Measurement(
        **dict.fromkeys(("accumulate", "repeat", "first_begun", "first_done", "loaded_mib", "peak_mib"), 0),
        workers_mib=0,
        others=0,
        peer="ours",
        kind="vqa",
        purpose="speed",
        batch=1,
        steps_per_epoch=4,
        seconds=[9, 9, 2, 2, 1, 1],
        losses=[],
        supervised=[2] * 6,
        trained=5,
        checkpointing=False,
        laid_out=[3] * 6,
        encoded=[9, 9, 1, 1, 0, 0],
    )
    rows = floor.format_table([measured], small_shape(), {"vqa": 8.0}, quickest=10_000.0).splitlines()[2:]
    needed = [floor.multiply_adds(small_shape(), floor.StepWork(3, 2, patches), 5) for patches in (8.0, 0.0)]
    expected = zip(("first", "later"), (item / 10_000 for item in needed), (2, 1), strict=True)
    title = "5 questions per image (VQAv2-like)"
    assert rows == [
        f"| {title} | {epochs} | 0 | {least:.2f} s | {took:.2f} s | {least / took:.0%} |"
        for epochs, least, took in expected
    ]
