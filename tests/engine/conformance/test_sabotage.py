"""The live kit proves itself: each defect planted here is one that a family or a layout could have, and is found.

For a family with one position axis (Gemma 3: image blocks and windows) and one with three (Qwen3-VL: deepstack).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from mg_gemma3 import GEMMA3
from mg_qwen3_vl import QWEN3_VL

from mg_tui.engine.batching import packed_layout
from mg_tui.engine.compute import attention
from mg_tui.engine.conformance import equivalence
from mg_tui.engine.conformance.checks import CheckResult, run_check
from mg_tui.engine.conformance.fixture import LiveFixture
from mg_tui.families import image_features
from mg_tui.families.family import ModelFamily
from mg_tui.families.split_encoding import find_image_starts
from mg_tui.families.testing import check_family
from mg_tui.families.tiny_checkpoints import make_tiny_checkpoint

FAMILIES = {"one axis": GEMMA3, "three axes": QWEN3_VL}


@dataclass
class Bench:
    """A family's fixture, and a way to run a check on a variant of the family."""

    live: LiveFixture

    def packed(self, family: ModelFamily | None = None) -> CheckResult:
        """The check that packed passes are the plain step, one pass with a frozen tower."""
        live = self.live if family is None else LiveFixture(family, self.live.folder, self.live.work)
        return run_check(live, _packed_once, "packing")


def _packed_once(bench: LiveFixture) -> Iterator[str]:
    model = bench.load()
    expected = bench.gradients(model, bench.alone(), frozen=True)
    attention.install(model)
    yield from bench.gradients(model, bench.packed(), frozen=True).differences(expected)


@pytest.fixture(scope="module", params=FAMILIES)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    family, folder = FAMILIES[request.param], tmp_path_factory.mktemp("sabotage")
    images = folder / "images"
    images.mkdir()
    return Bench(LiveFixture(family, make_tiny_checkpoint(family, folder / "checkpoint"), images))


def test_sound_families_have_no_finding(bench: Bench) -> None:
    assert bench.packed().findings == ()


def test_siblings_that_see_each_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = packed_layout.tree_paths

    def open_to_siblings(*arguments: Any) -> torch.Tensor:
        paths = real(*arguments)
        paths[0] = paths.shape[1]  # every subtree ends at the end
        return paths

    monkeypatch.setattr(packed_layout, "tree_paths", open_to_siblings)
    assert "the loss is" in str(bench.packed().findings)


def test_a_position_one_too_far(bench: Bench) -> None:
    layout = bench.live.family.layout
    assert layout is not None
    right = layout.positions

    def shifted(runs: Any) -> list[list[int]]:
        return [[at + (index > 5) for index, at in enumerate(axis)] for axis in right(runs)]

    wrong = replace(bench.live.family, layout=replace(layout, positions=shifted))
    assert bench.packed(wrong).status == "failed"


def test_features_of_the_wrong_image(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = image_features.encode
    monkeypatch.setattr(image_features, "encode", lambda *arguments: [real(*arguments)[0].flip(0)])
    assert bench.packed().status == "failed"


def test_images_in_another_order(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = find_image_starts

    def swapped(image_index: Any) -> list[tuple[int, int]]:
        starts = real(image_index)
        return [(at, image) for (at, _own), (_at, image) in zip(starts, reversed(starts), strict=True)]

    monkeypatch.setattr("mg_tui.engine.batching.packed_layout.find_image_starts", swapped)
    assert bench.packed().status == "failed"


def test_a_window_by_place(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a family with windows can have it wrong."""
    real = packed_layout.tree_paths

    def by_place(*arguments: Any) -> torch.Tensor:
        paths = real(*arguments)
        if len(paths) > 1:
            paths[1] = torch.arange(paths.shape[1])
        return paths

    monkeypatch.setattr(packed_layout, "tree_paths", by_place)
    assert bench.packed().status == ("failed" if bench.live.family.attention.windows else "ok")


def test_a_window_that_the_family_does_not_declare(bench: Bench) -> None:
    plain = replace(bench.live.family, attention=replace(bench.live.family.attention, kind="causal", windows=False))
    result = bench.packed(plain)
    if bench.live.family.attention.windows:
        assert "the last 12 tokens only, which the model family does not declare" in str(result.findings)
    else:
        assert result.status == "ok"


def test_a_label_on_a_separator(bench: Bench) -> None:
    """The added tokens around an image's features are never supervised, not even with train_on_prompt."""
    family = bench.live.family

    def greedy(*arguments: Any, **options: Any) -> Any:
        collator: Any = family.make_collator(*arguments, **options)
        collator._never = []
        collator._labels = lambda ids, flags: ids.clone()
        return collator

    findings = check_family(replace(family, make_collator=greedy), bench.live.folder, weights=False)
    separators = {"one axis": "<end_of_image>", "three axes": "<|image_pad|>"}
    wanted = next(token for name, token in separators.items() if FAMILIES[name] is family)
    assert any(f"image tokens are supervised: {wanted}" in finding for finding in findings), findings


def test_kept_features_of_another_image(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = equivalence._KeptFeatures._encode_new

    def mixed(self: Any, *arguments: Any) -> Any:
        features = real(self, *arguments)
        alike = [item for item in features if item.shape == features[0].shape]
        return features if not self.encoded_done else [*reversed(alike), *features[len(alike) :]]

    monkeypatch.setattr(equivalence._KeptFeatures, "encoded_done", False, raising=False)
    monkeypatch.setattr(equivalence._KeptFeatures, "_encode_new", mixed)
    assert run_check(bench.live, equivalence.kept_features_equal_encoded, "kept_features").status == "ok"
    monkeypatch.setattr(equivalence._KeptFeatures, "encoded_done", True)
    assert run_check(bench.live, equivalence.kept_features_equal_encoded, "kept_features").status == "failed"
