"""`--min-pixels` and `--max-pixels` of every family: kept, translated, or refused with its own setting named."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mg_tui.cli.main import cli
from mg_tui.core.errors import FamilyError
from mg_tui.families import ModelFamily, Preprocessing
from mg_tui.families.base_models import ResolvedModel
from mg_tui.families.conformance import make_image
from mg_tui.families.image_contract import count_features
from mg_tui.families.image_limits import (
    default_limits,
    known_limits,
    limit_images,
    refuse_ignored_limits,
    require_effective_limits,
    resizes_by_area,
    translated_settings,
)
from mg_tui.families.registry import load_registry
from mg_tui.families.tiny_checkpoints import make_tiny_processor
from mg_tui.preflight.token_counter import family_image_tokens

FAMILIES = load_registry().families
TRANSLATING = {family.key for family in FAMILIES if family.image_size and family.image_size.translate}
# Pixels of the square that a feature token of a published checkpoint stands for.
PIXELS_PER_FEATURE = {"smolvlm": 512**2 / 64, "internvl": 448**2 / 256, "mistral3": 28**2, "glm4v": 28**2}


def with_limit(limits: Preprocessing, name: str, value: int) -> Preprocessing:
    return replace(limits, min_pixels=value) if name == "min_pixels" else replace(limits, max_pixels=value)


def folder_of(family: ModelFamily, folder: Path) -> Path:
    """A checkpoint's folder without weights."""
    bundled = next((item.path for item in family.checkpoints if item.path), None)
    if bundled is None:
        make_tiny_processor(family, folder)
    return bundled or folder


def encoded_tokens(family: ModelFamily, folder: Path, limits: Preprocessing, size: tuple[int, int]) -> int:
    """Feature tokens that the processor writes for an image."""
    processor = family.load_processor(family, str(folder), limits)
    written = processor.image_token if family.key != "gemma3" else "<start_of_image>"
    ids = processor(text=[written], images=[[make_image(*size)]])["input_ids"][0]
    token = family.layout.feature_token if family.layout is not None else None
    return list(ids).count(processor.tokenizer.convert_tokens_to_ids(token or processor.image_token))


@pytest.mark.parametrize("name", ["min_pixels", "max_pixels"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.key)
def test_a_limit_is_never_ignored(family: ModelFamily, name: str, tmp_path: Path) -> None:
    asked = with_limit(default_limits(), name, 12_544)
    folder = folder_of(family, tmp_path)
    processor = family.load_processor(family, str(folder), default_limits())
    size = family.image_size
    if size is None:
        assert resizes_by_area(processor)
        require_effective_limits(family, processor, asked)
        # By area a small image grows and a large one shrinks.
        shown = (30, 30) if name == "min_pixels" else (400, 300)
    elif size.translate is None or name not in size.translated:
        for refuse in (
            lambda: refuse_ignored_limits(family, asked),
            lambda: require_effective_limits(family, processor, asked),
        ):
            with pytest.raises(FamilyError, match=rf"^{name} would have no effect on {family.title}") as caught:
                refuse()
            assert caught.value.hint is not None and size.knob in caught.value.hint
        return
    else:
        require_effective_limits(family, processor, asked)
        assert limit_images(family, processor, asked)
        shown = (30, 30) if name == "min_pixels" else (400, 300)
        asked = with_limit(asked, name, 6_272) if name == "max_pixels" else asked
    usual, limited = (encoded_tokens(family, folder, limits, shown) for limits in (default_limits(), asked))
    assert limited > usual if name == "min_pixels" else limited < usual


@pytest.mark.parametrize("family", [f for f in FAMILIES if f.key in TRANSLATING], ids=lambda family: family.key)
def test_a_front_end_counts_with_the_translated_settings(family: ModelFamily, tmp_path: Path) -> None:
    make_tiny_processor(family, tmp_path)
    count = family_image_tokens(ResolvedModel("x", str(tmp_path), True, family))
    assert count is not None and family.layout is not None
    limits = replace(default_limits(), max_pixels=6_272)
    processor = family.load_processor(family, str(tmp_path), limits)
    collator: Any = family.make_collator(family, processor, limits)
    pieces = family.layout.image_pieces(400, 300, collator.preprocessing)
    assert count_features(pieces) == encoded_tokens(family, tmp_path, limits, (400, 300))
    limited = count(400, 300, limits.min_pixels, limits.max_pixels)
    assert limited == family.layout.count(400, 300, collator.preprocessing)
    assert limited < count(400, 300, 3_136, 1_003_520)


@pytest.mark.parametrize("most", [300_000, 800_000, 2_000_000])
@pytest.mark.parametrize("key", sorted(TRANSLATING))
def test_images_stay_within_the_area_that_was_asked_for(key: str, most: int) -> None:
    """With the settings of the published checkpoints, which are the families' own."""
    family = next(item for item in FAMILIES if item.key == key)
    limits = replace(default_limits(), max_pixels=most)
    settings = translated_settings(family, limits)
    assert settings and known_limits(family, limits) == settings
    assert family.layout is not None
    for size in ((1400, 1000), (640, 2500), (3000, 3000)):
        pieces = family.layout.image_pieces(*size, replace(limits, settings=settings))
        runs = [math.prod(piece) for piece in pieces if not isinstance(piece, str)]
        features = sum(runs)
        if key == "smolvlm":
            features -= runs[-1] if len(runs) > 1 else 0  # the whole image that follows its tiles
        elif key == "internvl":
            features -= 256 if features > 256 else 0
        assert 0 < features * PIXELS_PER_FEATURE[key] <= most


def test_less_than_a_tile_is_refused() -> None:
    smolvlm = next(item for item in FAMILIES if item.key == "smolvlm")
    with pytest.raises(FamilyError, match="less than a tile") as caught:
        translated_settings(smolvlm, replace(default_limits(), max_pixels=100_000))
    assert "262,144" in str(caught.value.hint)


def test_the_checkpoints_own_settings_hold_where_nothing_was_asked_for() -> None:
    for family in FAMILIES:
        assert translated_settings(family, default_limits()) == {}


def test_a_run_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"model_type": "gemma3", "vision_config": {}}))
    (tmp_path / "rows.jsonl").write_text("")
    command = ["train-vision", "--base-model", str(model), "--dataset", str(tmp_path / "rows.jsonl")]
    done = CliRunner().invoke(cli, ["--home", str(tmp_path / "home"), *command, "--max-pixels", "500000"])
    assert isinstance(done.exception, FamilyError), done.output
    assert done.exception.what == "max_pixels would have no effect on Gemma 3"
    assert "do_pan_and_scan" in str(done.exception.hint)
