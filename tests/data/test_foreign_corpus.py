"""Datasets of other tools, one sample per layout: read as they must be, asked about, or refused with a hint."""

import re
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import DataError
from mg_tui.core.example import Example, TextPart
from mg_tui.data.dataset import Dataset, load_dataset, require_no_bad_rows
from mg_tui.data.field_map import FieldMap
from tests.data.foreign_corpus import CORPUS, QUESTIONED, READ, REFUSED, Sample, build

PAGE = Path(__file__).resolve().parents[2] / "docs" / "datasets.md"


def load(folder: Path, name: str, options: dict[str, Any] | None = None) -> Dataset:
    options = dict(options or {})
    fields = FieldMap(**options.pop("fields", {}))
    dataset = load_dataset(folder / name, fields, cwd=folder, cache=folder / ".cache", **options)
    require_no_bad_rows(dataset)
    return dataset


def turns(example: Example) -> tuple[tuple[str, str], ...]:
    """The turns as the corpus writes them."""
    written = []
    for message in example.messages:
        role = message.role if message.supervised or message.role != "assistant" else "assistant-"
        parts = [part.text if isinstance(part, TextPart) else f"[{_name(part.image)}]" for part in message.parts]
        written.append((role, "".join(parts)))
    return tuple(written)


def _name(image: Any) -> str:
    return "embedded" if "embedded" in image.path else Path(image.original).name


@pytest.mark.parametrize("sample", READ, ids=str)
def test_a_dataset_that_is_read(sample: Sample, tmp_path: Path) -> None:
    dataset = load(tmp_path, build(sample, tmp_path), dict(sample.options))
    assert turns(dataset.examples[0]) == sample.turns


@pytest.mark.parametrize("sample", [*QUESTIONED, *REFUSED], ids=str)
def test_a_dataset_that_is_asked_about_or_refused(sample: Sample, tmp_path: Path) -> None:
    name = build(sample, tmp_path)
    with pytest.raises(DataError) as caught:
        load(tmp_path, name)
    assert sample.message in str(caught.value)
    assert sample.hint in str(caught.value)


@pytest.mark.parametrize("sample", QUESTIONED, ids=str)
def test_the_option_that_was_asked_for_reads_it(sample: Sample, tmp_path: Path) -> None:
    dataset = load(tmp_path, build(sample, tmp_path), dict(sample.options))
    assert turns(dataset.examples[0]) == sample.turns


def test_the_documentation_lists_every_sample_with_its_verdict() -> None:
    table = PAGE.read_text().split("## Datasets of other tools")[1].split("\n## ")[0]
    listed = dict(re.findall(r"^\| ([^|]+?) \| (read|asked|refused) \|", table, re.M))
    assert listed == {sample.title: sample.verdict for sample in CORPUS}
