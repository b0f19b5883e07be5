"""The estimate against what really happens: PEFT's adapters, bitsandbytes' weights, the engine's choices, living bytes.

Needs torch, and neither a GPU nor memory for a model.
"""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mg_qwen2_5_vl.shape import model_shape

from mg_tui.core.spec import TrainingSpec
from mg_tui.families.registry import load_registry
from mg_tui.hardware.memory.training_setup import resolve_setup
from mg_tui.hardware.memory.weights import base_bytes, quantized_bytes, trainable_bytes, trainable_counts
from mg_tui.hardware.model_shape import LinearLayers

ROOT = Path(__file__).parents[2]


def spec(**changes: object) -> TrainingSpec:
    return TrainingSpec.parse({"base_model": "m", "dataset": "d", **changes})


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    tiny = next(one for one in load_registry().by_model_type("qwen2_5_vl").checkpoints if one.name == "tiny")
    assert tiny.path is not None
    found: dict[str, Any] = json.loads((tiny.path / "config.json").read_text())
    return found


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    known = set(sys.modules)
    yield importlib.import_module("harness.live_bytes")
    for name in set(sys.modules) - known:
        if name.startswith("harness"):
            del sys.modules[name]


# --- What is loaded and trained ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"lora_r": 8},
        {"lora_r": 5, "train_vision": "lora", "train_projector": "lora"},
        {"use_dora": True},
        {"train_projector": "full"},
        {"train_language": "none", "train_vision": "lora"},
        {"train_language": "none", "train_projector": "full"},
        {"train_language": "full", "train_vision": "full"},
    ],
)
def test_as_many_numbers_learn_as_peft_makes(config: dict[str, Any], options: dict[str, Any]) -> None:
    """By part and in bytes, for the tiny model as the engine adapts it."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    from mg_tui.engine.run import trainable_parameters

    family = load_registry().by_model_type("qwen2_5_vl")
    tiny = next(one for one in family.checkpoints if one.name == "tiny")
    asked = spec(dtype="bfloat16", quantization="none", **options)
    with torch.device("meta"):
        made = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(tiny.path), dtype=torch.bfloat16)
        made = trainable_parameters.make_trainable(made, family, asked)
    table = trainable_parameters.trainable_summary(made, family, asked)
    described, setup = model_shape(config), resolve_setup(asked, device="cuda")
    counted = trainable_counts(described, setup)
    assert {part: one.numbers for part, one in counted.items()} == {part: table[part]["trained"] for part in counted}
    true = sum(weight.numel() * weight.element_size() for weight in made.parameters())
    assert sum(base_bytes(described, setup).values()) + trainable_bytes(described, setup) == true


def test_nf4_takes_the_bytes_that_bitsandbytes_takes() -> None:
    import torch
    from bitsandbytes.functional import quantize_4bit

    weights = torch.randn(384, 640, dtype=torch.float32)
    packed, state = quantize_4bit(weights, blocksize=64, compress_statistics=True, quant_type="nf4")
    tables = (state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code)
    true = sum(one.numel() * one.element_size() for one in (packed, *tables))
    assert quantized_bytes((LinearLayers("x", 640, 384),), "nf4") == pytest.approx(true, rel=1e-3)


# --- The engine's choices ---------------------------------------------------------------------------------------------


def test_the_cpu_is_set_up_as_the_engine_sets_it_up() -> None:
    from mg_tui.engine.run.placement import choose_placement

    for options in ({}, {"quantization": "nf4"}, {"dtype": "bfloat16"}):
        asked = spec(device="cpu", **options)
        ours, theirs = resolve_setup(asked, device="cpu"), choose_placement(asked)
        assert (ours.dtype, ours.quantization) == (theirs.dtype, theirs.quantization)


# --- Living bytes -----------------------------------------------------------------------------------------------------

IMAGE = ((32, 32),)


@pytest.mark.parametrize(
    ("options", "masked", "learned"),
    [
        ({"quantization": "nf4"}, True, 96),
        ({"quantization": "nf4", "gradient_checkpointing": False}, True, 96),
        ({"quantization": "nf4", "checkpointing_interval": 2}, True, 96),
        ({"quantization": "none", "checkpointing_interval": 2, "train_vision": "lora"}, True, 96),
        ({"quantization": "nf4"}, True, 900),  # the loss is the peak: the engine makes logits as the estimate says
        ({"quantization": "none", "gradient_checkpointing": False, "train_vision": "lora"}, True, 96),
        ({"quantization": "none", "train_projector": "full"}, True, 96),
        ({"quantization": "none", "train_language": "full"}, False, 96),
        ({"quantization": "none", "dtype": "float32"}, True, 96),
    ],
)
def test_the_peak_of_a_step(harness: Any, options: dict[str, Any], masked: bool, learned: int) -> None:
    """Two blocks of each stack of the real 3B: within a tenth of the counted peak, of a step's own part too."""
    case = harness.StepCase("3B", 1, 1024, learned, IMAGE, masked=masked, layers=2, options=options)
    said, found = harness.estimate_peak(case), harness.measure_peak(case)
    assert said.staying == pytest.approx(found.staying, rel=1e-3)
    assert said.moving == pytest.approx(found.moving, rel=0.1)


def test_the_harness_counts_what_is_alive(harness: Any) -> None:
    """A tensor counts once, with everything that shares its storage, until the last of them is gone."""
    import torch

    with harness.LiveBytes() as live:
        first = torch.zeros(1000)
        view = first[:10]
        del first
        assert live.now == 4000
        second = view + 1
        assert (live.now, live.peak) == (4040, 4040)
        del view
        assert live.now == 40
        del second
    assert (live.now, live.peak) == (0, 4040)


def test_3b_has_the_shape_of_the_real_model(harness: Any) -> None:
    import torch

    case = harness.StepCase("3B", 1, 16, 1, (), layers=2, options={"quantization": "none"})
    model = harness.build_model(case, torch.bfloat16)
    base = sum(weight.numel() for name, weight in model.named_parameters() if ".lora_" not in name)
    assert base == model_shape(case.config).parameters


def test_logits_come_in_the_chunks_of_the_engine() -> None:
    from mg_tui.engine.compute import fused_cross_entropy
    from mg_tui.hardware.memory.assumptions import LOGITS_CHUNK

    assert LOGITS_CHUNK == {"cuda": fused_cross_entropy.CUDA_CHUNK_BYTES, "cpu": fused_cross_entropy.CHUNK_BYTES}
