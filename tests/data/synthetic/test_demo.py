"""The demo's dataset: the same every time, answerable from the image, held-out images apart from training ones."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from mg_tui.data.synthetic.demo import (
    BAYS,
    BINS,
    DEMO_HYPERPARAMETERS,
    QUESTIONS,
    SUBJECTS,
    DemoDataset,
    make_demo_dataset,
)
from mg_tui.data.synthetic.photos import PHOTOS


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DemoDataset:
    return make_demo_dataset(tmp_path_factory.mktemp("demo"), train=54, held_out=27)


def read_rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def hashes(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_rows_have_the_fields_and_the_counts(data: DemoDataset) -> None:
    for path, count in ((data.train, data.train_rows), (data.held_out, data.held_out_rows)):
        rows = read_rows(path)
        assert len(rows) == count
        for row in rows:
            assert set(row) == {"text", "image", "response"}
            assert row["text"] in QUESTIONS
            with Image.open(data.folder / row["image"]) as image:
                assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (168, 168))


def test_images_have_several_questions(data: DemoDataset) -> None:
    per_image = Counter(row["image"] for row in read_rows(data.train))
    assert len(per_image) == 54
    assert set(per_image.values()) == {2, 3}


def test_held_out_images_are_other_images(data: DemoDataset) -> None:
    train = {row["image"] for row in read_rows(data.train)}
    held_out = {row["image"] for row in read_rows(data.held_out)}
    assert not train & held_out
    digests = hashes(data.folder / "images")
    assert len(set(digests.values())) == len(digests) == len(train | held_out)


def test_same_seed_same_bytes(data: DemoDataset, tmp_path: Path) -> None:
    make_demo_dataset(tmp_path / "again", train=54, held_out=27)
    assert hashes(tmp_path / "again") == hashes(data.folder)
    make_demo_dataset(tmp_path / "other", seed=1, train=3, held_out=3)
    again = hashes(tmp_path / "again")
    assert not set(hashes(tmp_path / "other").values()) & set(again.values())


def test_every_kind_and_photo_is_there(data: DemoDataset) -> None:
    for path in (data.train, data.held_out):
        rows = read_rows(path)
        assert {QUESTIONS[row["text"]] for row in rows} == set(QUESTIONS.values())
        answers = {row["response"] for row in rows}
        assert {subject for subject, _ in SUBJECTS.values()} <= answers


def test_the_stock_label_joins_bay_and_bin(data: DemoDataset) -> None:
    answers: dict[str, dict[str, str]] = {}
    for row in read_rows(data.train):
        answers.setdefault(row["image"], {})[QUESTIONS[row["text"]]] = row["response"]
    labelled = [row_answers for row_answers in answers.values() if "stock label" in row_answers]
    assert labelled
    for row_answers in labelled:
        assert row_answers["bay"] in BAYS.values()
        assert row_answers["bin"] in BINS.values()
        assert row_answers["stock label"] == f"{row_answers['bay']}-{row_answers['bin']}"


def test_tables_are_complete() -> None:
    assert set(SUBJECTS) == set(PHOTOS)
    assert len(set(BAYS.values())) == len(BAYS)
    assert len(set(BINS.values())) == len(BINS)
    assert {"epochs", "batch_size", "learning_rate", "lora_r", "lora_alpha"} <= set(DEMO_HYPERPARAMETERS)
