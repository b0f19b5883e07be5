"""Every format: browsed, checked, trained on for one step, converted; with real photos among the images."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.config import load_settings
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.browser import open_browser
from mg_tui.data.convert.converter import ConvertRequest, convert
from mg_tui.data.from_spec import image_resolver_from_spec, load_dataset_from_spec, open_source_from_spec
from mg_tui.data.images import open_image
from mg_tui.data.sources.base import FORMATS
from mg_tui.data.synthetic import photos
from mg_tui.families import Preprocessing
from mg_tui.families.registry import load_registry
from mg_tui.preflight import dataset_check

LIMITS = Preprocessing(min_pixels=3_136, max_pixels=12_544)
NAMES = {
    "jsonl": "a.jsonl",
    "jsonl.gz": "b.jsonl.gz",
    "jsonl.zst": "c.jsonl.zst",
    "json": "d.json",
    "csv": "e.csv",
    "tsv": "f.tsv",
    "parquet": "g.parquet",
    "arrow": "h.arrow",
    "saved": "i",
    "imagefolder": "j",
    "webdataset": "k.tar",
}
ROWS = [
    {"messages": [{"role": "user", "content": "<image>What is it?"}, {"role": "assistant", "content": "A cat."}],
     "images": ["chelsea.jpg"]},
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "<image>Or <image>?"},
                  {"role": "assistant", "content": "The first."}, {"role": "user", "content": "Why?"},
                  {"role": "assistant", "content": "It is a cup."}], "images": ["coffee.jpg", "red.png"]},
    {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}], "images": []},
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("formats")
    for name in ("chelsea.jpg", "coffee.jpg"):
        shutil.copy(Path(str(photos.__file__)).parent / name, folder / name)
    Image.new("RGB", (40, 40), "red").save(folder / "red.png")
    (folder / "source.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return folder


class TinyTrainer:
    """The tiny model, as it comes before every step."""

    def __init__(self) -> None:
        import torch
        from transformers import AutoModelForImageTextToText

        resolved = load_registry().resolve("tiny")
        family = resolved.family
        assert family is not None
        processor = family.load_processor(family, resolved.source, LIMITS)
        self._collate = family.make_collator(family, processor, LIMITS)
        self._model = AutoModelForImageTextToText.from_pretrained(resolved.source, dtype=torch.float32)
        self._weights = {name: weights.clone() for name, weights in self._model.state_dict().items()}

    def loss(self, examples: Any) -> float:
        """Of the model as it comes."""
        return float(self._model(**self._batch(examples)).loss.detach())

    def learn(self, examples: Any) -> tuple[float, float]:
        """The loss before and after one optimizer step on the examples."""
        import torch

        batch = self._batch(examples)
        optimizer = torch.optim.AdamW(self._model.parameters(), lr=1e-3)
        loss = self._model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        after = float(self._model(**batch).loss.detach())
        self._model.load_state_dict(self._weights)
        return float(loss.detach()), after

    def _batch(self, examples: Any) -> Any:
        return self._collate(examples, [[open_image(ref.path) for ref in example.images] for example in examples])


@pytest.fixture(scope="module")
def learner() -> TinyTrainer:
    return TinyTrainer()


def test_the_matrix_has_every_format() -> None:
    assert {name.split(".")[0].replace("tsv", "csv") for name in NAMES} == set(FORMATS) - {"hub"}


@pytest.mark.parametrize("kind", NAMES)
def test_browse_check_train_and_convert(kind: str, world: Path, learner: TinyTrainer) -> None:
    settings = load_settings(home=world / "home", environ={"MODEL_GARDEN_CACHE": str(world / "cache")}, cwd=world)
    format = {"tsv": "csv"}.get(kind, kind.split(".")[0])
    layout = "openai" if kind == "jsonl.gz" else "conversations" if kind in ("json", "csv") else "messages"

    def spec(dataset: str) -> TrainingSpec:
        return TrainingSpec.parse({"base_model": "tiny", "dataset": dataset})

    def write(inputs: str, out: str, **options: Any) -> None:
        source, recognised = open_source_from_spec(spec(inputs), cwd=world, cache=settings.cache)
        resolver = image_resolver_from_spec(spec(inputs), source, cwd=world, cache=settings.cache)
        created = convert(
            source, recognised, ConvertRequest(world / out, **options), cache=settings.cache, resolver=resolver
        )
        assert (created.rows, created.skipped_rows) == (3, 0)

    name = NAMES[kind]
    write("source.jsonl", name, format=format, layout=layout)
    source, recognised = open_source_from_spec(spec(name), cwd=world, cache=settings.cache)
    assert (recognised.format, recognised.certainty) == (format, "sure")
    assert recognised.layout == ("messages" if layout == "openai" else layout)

    browser = open_browser(source, settings.cache)
    assert [row.number for row in browser.read_rows(1, 9)] == [1, 2, 3]
    third = browser.read_row(3)
    assert third is not None
    assert "Hello" in json.dumps(third.values, default=str)

    # Tokens are counted in processes that import the model's library: once is enough to see that they are.
    report = dataset_check.check_dataset(spec(name), settings, cwd=world, count_tokens=kind == "parquet")
    assert (report.total_tokens is not None) == (kind == "parquet")
    assert (report.rows, report.good_rows, report.images) == (3, 3, 3)
    assert not [finding for finding in report.findings if finding.severity == "error"]

    dataset = load_dataset_from_spec(spec(name), cwd=world, cache=settings.cache, check_images="decode")
    assert not dataset.problems
    assert [len(example.images) for example in dataset.examples] == [1, 2, 0]
    before, after = learner.learn(dataset.examples)
    plain = load_dataset_from_spec(spec("source.jsonl"), cwd=world, cache=settings.cache, check_images="header")
    assert before == pytest.approx(learner.loss(plain.examples), rel=1e-5)
    assert after < before

    write(name, f"back-{kind.replace('.', '-')}.jsonl", layout="messages")
    back = load_dataset_from_spec(
        spec(f"back-{kind.replace('.', '-')}.jsonl"), cwd=world, cache=settings.cache, check_images="none"
    )
    assert [m.text for e in back.examples for m in e.messages] == [m.text for e in plain.examples for m in e.messages]
