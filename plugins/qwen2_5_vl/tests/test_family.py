"""Qwen2.5-VL: the conformance kit finds nothing, the counts are right, and the geometry is the processor's."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mg_qwen2_5_vl import QWEN2_5_VL
from mg_qwen2_5_vl.geometry import image_tokens, smart_resize
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize as reference

from mg_tui.core.errors import DataError
from mg_tui.families import Preprocessing
from mg_tui.families.registry import load_registry
from mg_tui.families.testing import check_family

CONFIGS = Path(__file__).parent / "configs"
LISTED = {checkpoint.name: checkpoint for checkpoint in QWEN2_5_VL.checkpoints}
LIMITS = [(3_136, 12_544), (3_136, 1_003_520), (784, 784), (200_704, 12_845_056)]


def skeleton(config: Path) -> Any:
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(config))


def test_the_conformance_kit_finds_nothing() -> None:
    assert check_family(QWEN2_5_VL) == []


def test_it_is_installed_and_usable() -> None:
    registry = load_registry()
    assert registry.by_model_type("qwen2_5_vl") is QWEN2_5_VL
    tiny = registry.resolve("tiny")
    assert (tiny.family, tiny.source) == (QWEN2_5_VL, str(LISTED["tiny"].path))
    assert registry.resolve("Qwen/Qwen2.5-VL-72B-Instruct").family is QWEN2_5_VL


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.stem)
def test_parameters_and_parts_of_the_real_sizes(config: Path) -> None:
    model = skeleton(config)
    assert sum(p.numel() for p in model.parameters()) == LISTED[f"Qwen/{config.stem}"].parameters
    assert {QWEN2_5_VL.parts.part_of(name) for name, _ in model.named_parameters()} == {
        "language",
        "projector",
        "vision",
    }
    merger = [name for name, _ in model.named_parameters() if QWEN2_5_VL.parts.part_of(name) == "projector"]
    assert merger
    assert all(name.startswith("model.visual.merger.") for name in merger)


def test_every_listed_checkpoint_is_counted() -> None:
    counted = {f"Qwen/{path.stem}" for path in CONFIGS.glob("*.json")}
    assert counted | {"tiny"} == set(LISTED)


def test_parameters_of_tiny() -> None:
    path = LISTED["tiny"].path
    assert path is not None
    assert sum(p.numel() for p in skeleton(path).parameters()) == LISTED["tiny"].parameters


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.sampled_from(LIMITS))
def test_geometry_is_that_of_transformers(width: int, height: int, limits: tuple[int, int]) -> None:
    try:
        high, wide = reference(height, width, factor=28, min_pixels=limits[0], max_pixels=limits[1])
    except ValueError:
        with pytest.raises(DataError, match="too long for Qwen"):
            smart_resize(width, height, Preprocessing(*limits))
        return
    assert smart_resize(width, height, Preprocessing(*limits)) == (wide, high)
    assert image_tokens(width, height, Preprocessing(*limits)) == wide * high // 784


@pytest.mark.parametrize("limits", LIMITS[:3], ids=str)
def test_tokens_are_those_the_processor_makes(limits: tuple[int, int]) -> None:
    from PIL import Image

    preprocessing = Preprocessing(*limits)
    processor = QWEN2_5_VL.load_processor(QWEN2_5_VL, str(LISTED["tiny"].path), preprocessing)
    sides = (1, 13, 28, 42, 57, 199, 640)
    for width, height in ((w, h) for w in sides for h in sides if max(w, h) / min(w, h) <= 200):
        made = processor.image_processor([Image.new("RGB", (width, height))], return_tensors="pt")
        assert int(made["image_grid_thw"].prod()) // 4 == image_tokens(width, height, preprocessing), (width, height)


@pytest.mark.parametrize("size", [(201, 1), (1, 201), (0, 10), (10_000, 49)], ids=str)
def test_images_that_are_too_long(size: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=f"{size[0]} x {size[1]} pixels is too long") as caught:
        image_tokens(*size, Preprocessing(3_136, 1_003_520))
    assert caught.value.hint == "crop it"
    assert image_tokens(200, 1, Preprocessing(3_136, 1_003_520)) > 0


def test_the_module_stays_short() -> None:
    import mg_qwen2_5_vl

    assert len(Path(mg_qwen2_5_vl.__file__).read_text().splitlines()) < 100
