"""With which limits images are resized for a model: those of its training, its own, or those asked for."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import FamilyError, UsageError
from mg_tui.engine.inference.loading import LoadedModel, load_located
from mg_tui.engine.inference.locator import locate_model
from mg_tui.engine.inference.pixel_limits import RequestedLimits
from mg_tui.families.registry import load_registry

TINY = (3_136, 12_544)  # of the bundled checkpoint's own processor


def load(model: str | Path, home: Path, **limits: int) -> LoadedModel:
    registry = load_registry()
    located = locate_model(str(model), home=home, registry=registry)
    return load_located(located, registry, device="cpu", limits=RequestedLimits(**limits))


def limits_of(loaded: LoadedModel) -> tuple[int, int]:
    """As the processor applies them, which have to be those that the metadata say."""
    size = loaded.processor.image_processor.size
    metadata = loaded.metadata
    assert (size["shortest_edge"], size["longest_edge"]) == (metadata.min_pixels, metadata.max_pixels)
    return metadata.min_pixels, metadata.max_pixels


def test_a_base_model_keeps_the_limits_of_its_own_processor(tmp_path: Path, tiny_folder: Path) -> None:
    loaded = load("tiny", tmp_path)
    assert limits_of(loaded) == TINY and loaded.limits_from == "own"
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "other"))
    config = json.loads((folder / "processor_config.json").read_text())
    config["image_processor"]["size"] = {"shortest_edge": 784, "longest_edge": 4_704}
    (folder / "processor_config.json").write_text(json.dumps(config))
    assert limits_of(load(folder, tmp_path)) == (784, 4_704)


def test_an_adapter_of_another_program_has_those_of_its_processor(result: Path, tmp_path: Path) -> None:
    folder = tmp_path / "foreign"
    folder.mkdir()
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        shutil.copy(result / name, folder)
    loaded = load(folder, tmp_path)
    assert limits_of(loaded) == TINY and loaded.limits_from == "own"
    assert "as its own processor does" in loaded.located.notes[0]


def test_a_result_has_those_of_its_training_unless_others_are_asked_for(
    result: Path, spec: Any, tmp_path: Path
) -> None:
    loaded = load(result, tmp_path)
    assert limits_of(loaded) == (spec.min_pixels, spec.max_pixels) and loaded.limits_from == "trained"
    loaded = load(result, tmp_path, max_pixels=9_408)
    assert limits_of(loaded) == (spec.min_pixels, 9_408) and loaded.limits_from == "given"
    assert limits_of(load("tiny", tmp_path, min_pixels=784, max_pixels=40_000)) == (784, 40_000)


def test_limits_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--min-pixels 3,136 exceeds --max-pixels 784") as caught:
        load("tiny", tmp_path, max_pixels=784)
    assert "one of them is the model's" in str(caught.value)


def test_limits_without_effect_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mg_tui.families.image_limits._takes_areas", lambda images: False)
    with pytest.raises(FamilyError, match="max_pixels would have no effect"):
        load("tiny", tmp_path, max_pixels=9_408)
