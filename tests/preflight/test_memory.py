"""From a spec to the question of its memory: shapes found offline, rows counted as training counts them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mg_tui.config import Settings
from mg_tui.core.errors import DataError, FamilyError
from mg_tui.core.spec import TrainingSpec
from mg_tui.families.registry import ResolvedModel, load_registry
from mg_tui.preflight import memory


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "home", tmp_path / "cache")


@pytest.fixture(autouse=True)
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    from PIL import Image

    rows = []
    for number, side in enumerate((56, 112, 448)):
        Image.new("RGB", (side, side)).save(tmp_path / f"{number}.png")
        rows.append({"text": f"How many shapes are there? {'really ' * number}", "image": f"{number}.png",
                     "response": "two of them, I think"})  # fmt: skip
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def spec(dataset: object = "-", **changes: object) -> TrainingSpec:
    return TrainingSpec.parse({"base_model": "tiny", "dataset": str(dataset), **changes})


@pytest.mark.parametrize("size", ["3B", "7B", "72B"])
def test_a_checkpoint_a_plugin_lists_need_not_be_here(settings: Settings, tmp_path: Path, size: str) -> None:
    run_spec = spec(base_model=f"Qwen/Qwen2.5-VL-{size}-Instruct")
    advisor = memory.make_advisor(run_spec, settings, cwd=tmp_path, read_dataset=False)
    assert advisor.shape.exact
    assert advisor.can_pack
    assert advisor.estimate().peak > 2 * 10**9


def test_one_nobody_knows_is_refused_with_a_hint(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(FamilyError, match="until it is downloaded") as caught:
        memory.make_advisor(spec(base_model="Owner/Unknown-VL"), settings, cwd=tmp_path, read_dataset=False)
    assert caught.value.hint


def test_a_family_without_a_shape_is_read_from_its_files() -> None:
    model = load_registry().resolve("tiny")
    assert model.family is not None
    bare = replace(model, family=replace(model.family, shape=None))
    exact, general = memory.model_shape(model), memory.model_shape(bare)
    assert not general.exact
    assert general.parameters == exact.parameters


def test_a_family_without_a_shape_or_files_is_refused() -> None:
    family = load_registry().by_model_type("qwen2_5_vl")
    model = ResolvedModel("a/b", "a/b", False, replace(family, shape=None, checkpoints=()))
    with pytest.raises(FamilyError, match="until it is downloaded"):
        memory.model_shape(model)


def test_a_configuration_without_a_size_is_named() -> None:
    family = load_registry().by_model_type("qwen2_5_vl")
    with pytest.raises(FamilyError, match="is missing a size") as caught:
        memory.model_shape(ResolvedModel("x", "x", False, family, {"vision_config": {"hidden_size": 8}}))
    assert "hidden_size" in str(caught.value)


def test_rows_are_about_as_long_as_training_finds_them(settings: Settings, tmp_path: Path, dataset: Path) -> None:
    """Tokens of images exactly; of text within what a template may add."""
    from mg_tui.data.dataset import load_dataset
    from mg_tui.families.contract import Preprocessing

    run_spec = spec(dataset)
    advisor = memory.make_advisor(run_spec, settings, cwd=tmp_path)
    assert advisor.image_tokens is not None
    family = load_registry().by_model_type("qwen2_5_vl")
    limits = Preprocessing(run_spec.min_pixels, run_spec.max_pixels)
    tiny = load_registry().resolve("tiny")
    encoder = family.make_collator(family, family.load_processor(family, tiny.source, limits), limits)
    examples = load_dataset(dataset, check_images="header").examples
    assert len(advisor.rows) == len(examples) == 3
    for row, example in zip(advisor.rows, examples, strict=True):
        (size,) = row.images
        images = advisor.image_tokens(*size, run_spec.min_pixels, run_spec.max_pixels)
        true = encoder.length(example, [size])  # type: ignore[attr-defined]
        assert true <= row.text + images <= true + 24
        assert 0 < row.supervised < row.text


def test_without_a_tokenizer_bytes_are_counted(settings: Settings, tmp_path: Path, dataset: Path) -> None:
    near = memory.make_advisor(spec(dataset), settings, cwd=tmp_path)
    far = memory.make_advisor(spec(dataset, base_model="Qwen/Qwen2.5-VL-3B-Instruct"), settings, cwd=tmp_path)
    assert [row.images for row in near.rows] == [row.images for row in far.rows]
    assert all(row.supervised > 5 for row in far.rows)


def test_learning_the_prompt_makes_more_logits(settings: Settings, tmp_path: Path, dataset: Path) -> None:
    advisor = memory.make_advisor(spec(dataset, train_on_prompt=True), settings, cwd=tmp_path)
    assert all(row.supervised == row.text for row in advisor.rows)


def test_a_dataset_without_a_good_row(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text('{"text": "a", "image": "none.png", "response": "b"}\n')
    with pytest.raises(DataError):
        memory.make_advisor(spec(file), settings, cwd=tmp_path)
