"""Kept features are found by what made them: other weights, another library or other threads have other names."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mg_tui.data.feature_store import FeatureStore
from mg_tui.engine.batching import feature_cache
from mg_tui.engine.batching.feature_cache import FeatureCache, vision_digest
from mg_tui.families.registry import load_registry


@pytest.fixture
def threads() -> Iterator[int]:
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def tower(fill: float = 1.0, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    model = torch.nn.Module()
    model.model = torch.nn.Module()
    model.model.visual = torch.nn.Linear(2, 2, bias=False, dtype=dtype)
    model.model.language_model = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(model.model.visual.weight, fill)
    return model


def test_features_of_another_image_another_tower_or_other_settings_are_missing(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "features", 1 << 20)
    image, features = tmp_path / "a.png", torch.arange(6.0).reshape(3, 2)
    image.write_bytes(b"one image")

    def make(tower: bytes, shaping: object = "as it is") -> FeatureCache:
        cache = FeatureCache(store, shaping)
        cache.enable_for(tower * 32)
        return cache

    cache = make(b"1")
    first = cache.image_digest(str(image))
    assert cache.put(first, (28, 42), features)
    found = make(b"1").find(first)
    assert found is not None and torch.equal(found.features, features) and found.size == (28, 42)
    assert make(b"2").find(first) is None, "another tower"
    assert make(b"1", "cropped").find(first) is None, "other settings"
    assert FeatureCache(store, "as it is").find(first) is None, "the tower is not known yet"
    (tmp_path / "b.png").write_bytes(b"one image")
    assert cache.image_digest(str(tmp_path / "b.png")) == first, "the same image by another name"
    image.write_bytes(b"another one")
    assert cache.find(cache.image_digest(str(image))) is None, "another image by the same name"


def test_a_name_holds_what_decides_the_last_bit(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    family = load_registry().by_model_type("qwen2_5_vl")
    first = vision_digest(tower(), family)
    assert vision_digest(tower(), family) == first, "the language model has no part in it"
    torch.set_num_threads(threads + 1)
    others = {vision_digest(tower(), family)}
    torch.set_num_threads(threads)
    for name in ("torch", "transformers"):
        with monkeypatch.context() as patch:
            patch.setattr(f"{name}.__version__", "0.0.0")
            others.add(vision_digest(tower(), family))
    with monkeypatch.context() as patch:
        patch.setattr(feature_cache, "_ENCODING_VERSION", -1)
        others.add(vision_digest(tower(), family))
    others |= {vision_digest(tower(2.0), family), vision_digest(tower(dtype=torch.bfloat16), family)}
    assert len(others) == 6
    assert first not in others
