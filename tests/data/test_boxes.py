"""Boxes of ms-swift's column `objects`: refused unless it is said how they are written, then written into the text."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from mg_tui.cli.datasets import datasets
from mg_tui.config import Settings
from mg_tui.core.dataset_parts import DATASET_KEYS
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.dataset import Dataset
from mg_tui.data.from_spec import load_dataset_from_spec

TURNS = [
    {"role": "user", "content": "<image>Where is <ref-object>?"},
    {"role": "assistant", "content": '[{"bbox_2d": <bbox>, "label": "<ref-object>"}]'},
    {"role": "user", "content": "And what is at <bbox>?"},
    {"role": "assistant", "content": "<ref-object>"},
]
OBJECTS: dict[str, Any] = {"ref": ["the cat", "cat", "a dog"], "bbox": [[100, 50, 700, 350], [400, 200]]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (1400, 700)).save(tmp_path / "a.png")
    Image.new("RGB", (100, 100)).save(tmp_path / "b.png")
    return tmp_path


def load(folder: Path, objects: Any, turns: Any = TURNS, **options: Any) -> Dataset:
    row = {"messages": turns, "images": ["a.png"], "objects": objects}
    (folder / "rows.jsonl").write_text(json.dumps(row | options.pop("row", {})) + "\n")
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": str(folder / "rows.jsonl"), **options})
    return load_dataset_from_spec(spec, cwd=folder, cache=folder / "cache", check_images="header")


def texts(dataset: Dataset) -> list[str]:
    assert not dataset.problems, [str(problem) for problem in dataset.problems]
    return [message.text for message in dataset.examples[0].messages]


@pytest.mark.parametrize(
    ("units", "box", "point"),
    [
        # 1400 x 700 is resized to 476 x 224, multiples of 28 below 120,000 pixels.
        ("resized", "[34, 16, 238, 112]", "[136, 64]"),
        ("thousandths", "[71, 71, 500, 500]", "[286, 286]"),
        ("pixels", "[100, 50, 700, 350]", "[400, 200]"),
    ],
)
def test_boxes_are_written_in_their_units(folder: Path, units: str, box: str, point: str) -> None:
    found = texts(load(folder, OBJECTS, box_format=units, max_pixels=120_000))
    assert found == [
        "Where is the cat?",
        f'[{{"bbox_2d": {box}, "label": "cat"}}]',
        f"And what is at {point}?",
        "a dog",
    ]


def test_the_resized_sides_are_those_of_the_family(folder: Path) -> None:
    from mg_tui.families.contract import Preprocessing
    from mg_tui.families.registry import load_registry

    family = load_registry().resolve("tiny").family
    assert family is not None and family.image_tokens is not None
    assert family.image_tokens(1400, 700, Preprocessing(3136, 120_000)) == 476 * 224 // 28**2


def test_without_units_such_rows_are_refused_with_the_flag(folder: Path) -> None:
    (problem,) = load(folder, OBJECTS).problems
    assert problem.field == "objects" and "--box-format" in str(problem.hint)
    assert "--ignore-column objects" in str(problem.hint)


def test_shares_and_other_images(folder: Path) -> None:
    turns = [TURNS[0], {"role": "assistant", "content": "<bbox>"}]
    turns[0] = {"role": "user", "content": "<image><image>Where?"}
    objects = {"ref": [], "bbox": [[0.25, 0.5, 1, 1]], "bbox_type": "norm1", "image_id": [1]}
    found = load(folder, objects, turns, row={"images": ["a.png", "b.png"]}, box_format="pixels")
    assert texts(found)[1] == "[25, 50, 100, 100]"


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ({"ref": ["the cat", "cat", "a dog"], "bbox": [[1, 2, 3, 4]]}, "has 1 box, and the text has 2 of <bbox>"),
        ({"ref": ["the cat"], "bbox": [[1, 2, 3, 4], [1, 2]]}, "has 1 name, and the text has 3 of <ref-object>"),
        ({"bbox": [[1, 2, 3]]}, "box 1 that is no list of two or four numbers"),
        ({"bbox": [[1, 2, float("nan"), 4]]}, "box 1 that is no list"),
        ({"bbox": [[1, 2]], "image_id": [4]}, "box 1 of image 4, but the row has 1 images"),
        ({"bbox": [[1, 2]], "image_id": 0.5}, "image_id that is no list"),
        ({"bbox": [[1, 2]], "bbox_type": "norm1000"}, "bbox_type 'norm1000'"),
        ({"ref": [3], "bbox": []}, "ref that is no list of texts"),
        ([{"bbox": [1, 2, 3, 4], "category": 3}], "without a list in bbox"),
    ],
)
def test_objects_that_do_not_fit_are_named(folder: Path, objects: Any, words: str) -> None:
    (problem,) = load(folder, objects, box_format="pixels").problems
    assert problem.field == "objects" and words in problem.what, problem.what


def test_a_dataset_of_several_has_its_own_units(folder: Path) -> None:
    assert "box_format" in DATASET_KEYS
    load(folder, OBJECTS)
    parts = [{"path": f"{folder}/rows.jsonl", "box_format": units} for units in ("pixels", "thousandths")]
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": parts})
    dataset = load_dataset_from_spec(spec, cwd=folder, cache=None, check_images="header")
    assert [example.messages[2].text for example in dataset.examples] == [
        "And what is at [400, 200]?",
        "And what is at [286, 286]?",
    ]


def test_another_family_is_refused_the_units_of_this_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from mg_tui.core.errors import FamilyError
    from mg_tui.families.registry import load_registry
    from mg_tui.preflight.checks import _require_box_rules

    model = load_registry().resolve("tiny")
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": "d.jsonl", "box_format": "resized"})
    _require_box_rules(spec, model)
    assert model.family is not None
    other = replace(model, family=replace(model.family, image_tokens=lambda width, height, limits: 256))
    with pytest.raises(FamilyError, match="does not resize images as box_format = resized"):
        _require_box_rules(spec, other)


def test_a_conversion_keeps_boxes_beside_the_text(folder: Path) -> None:
    before = texts(load(folder, OBJECTS, box_format="thousandths"))
    command = ["convert", str(folder / "rows.jsonl"), str(folder / "out.jsonl"), "--box-format", "thousandths"]
    done = CliRunner().invoke(datasets, [*command, "--to", "jsonl"], obj=Settings(folder / "home", folder / "cache"))
    assert done.exit_code == 0, done.output
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": str(folder / "out.jsonl"), "box_format": "thousandths"})
    assert texts(load_dataset_from_spec(spec, cwd=folder, cache=None, check_images="header")) == before
