"""Several datasets in one run: what a weight means, to the row, and that the same spec always gives the same rows."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.core.dataset_parts import DatasetPart, parse_part
from mg_tui.core.errors import SpecError, UsageError
from mg_tui.core.named_datasets import resolve_named_datasets
from mg_tui.core.options import format_flags, split_list
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.dataset import Dataset, load_dataset
from mg_tui.data.from_spec import load_dataset_from_spec
from mg_tui.data.row_loader import ReadOptions
from mg_tui.data.sources.opener import open_source
from mg_tui.data.subset import WeightedSource, concat_datasets


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three datasets: a.jsonl of ten rows with images, b.jsonl of four messages, c.csv of three questions."""
    (tmp_path / "photos").mkdir()
    rows: list[dict[str, Any]] = []
    for number in range(10):
        Image.new("RGB", (28, 28), (20 * number, 9, 9)).save(tmp_path / "photos" / f"{number}.png")
        rows.append({"text": f"a{number}?", "image": f"photos/{number}.png", "response": f"A{number}"})
    write(tmp_path / "a.jsonl", rows)
    turns = [[("user", f"b{number}?"), ("assistant", f"B{number}")] for number in range(4)]
    write(tmp_path / "b.jsonl", [{"messages": [{"role": r, "content": c} for r, c in some]} for some in turns])
    (tmp_path / "c.csv").write_text("question,total\nc0?,C0\nc1?,C1\nc2?,C2\n")
    return tmp_path


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_spec(*datasets: Any, **options: Any) -> TrainingSpec:
    return TrainingSpec.parse({"base_model": "tiny", "dataset": list(datasets), **options})


def load(folder: Path, *datasets: Any, **options: Any) -> Dataset:
    spec = make_spec(*datasets, **options)
    return load_dataset_from_spec(spec, cwd=folder, cache=folder / ".cache", check_images="header")


def trained(dataset: Dataset) -> list[str]:
    """The answers of an epoch, in order."""
    return [example.response for example in dataset.repeat(dataset.examples)]


# --- the spec


def test_a_list_of_datasets_is_the_first_and_the_additional_ones() -> None:
    spec = make_spec("a", "b:2", {"path": "c.csv", "layout": "vqa"})
    assert spec.dataset == "a"
    assert spec.additional_dataset == ("b:2", '{"path": "c.csv", "layout": "vqa"}')
    assert TrainingSpec.parse(spec.model_dump()) == spec
    assert TrainingSpec.parse(json.loads(spec.model_dump_json())) == spec
    flags = format_flags(spec, spec.changed())
    assert flags[-3:] == ["--dataset a", "--dataset b:2", """--dataset '{"path": "c.csv", "layout": "vqa"}'"""]


def test_a_spec_of_one_dataset_is_as_before(folder: Path) -> None:
    old = TrainingSpec.parse({"base_model": "tiny", "dataset": "a.jsonl"})
    assert old.additional_dataset == ()
    dataset = load(folder, "a.jsonl")
    assert (dataset.copies, dataset.parts) == ((), ())
    assert dataset.detected_format is not None
    assert make_spec("x", dataset="y").dataset == "y"


def test_another_list_replaces_the_datasets_of_a_spec() -> None:
    values = make_spec("a", "b").model_dump()
    assert TrainingSpec.parse({**values, "dataset": ("c",)}).additional_dataset == ()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a.jsonl", DatasetPart("a.jsonl")),
        ("a.jsonl:2", DatasetPart("a.jsonl", 2.0)),
        ("hub:owner/name", DatasetPart("hub:owner/name")),
        ("hub:owner/name@main:0.5", DatasetPart("hub:owner/name@main", 0.5)),
        ('{"path": "a", "weight": 3, "split": "x"}', DatasetPart("a", 3.0, {"split": "x"})),
    ],
)
def test_a_dataset_is_read_with_its_weight(text: str, part: DatasetPart) -> None:
    assert parse_part(text) == part
    assert parse_part(part.format()) == part


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a:0", "invalid weight 0"),
        ("a:-1", "invalid weight -1"),
        ("a:1e9", "invalid weight 1e9"),
        ("{", "not valid JSON"),
        ('{"weight": 2}', "no path"),
        ('{"path": "a", "weight": "2"}', "not a number"),
        ('{"path": "a", "weight": 0}', "invalid weight 0"),
        ('{"path": "a", "colour": 1}'.replace("colour", "hue"), "unknown key 'hue'"),
    ],
)
def test_a_bad_dataset_says_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_part(text)


def test_a_bad_option_of_one_dataset_names_it(folder: Path) -> None:
    with pytest.raises(SpecError, match=r"c\.csv"):
        load(folder, "a.jsonl", {"path": "c.csv", "layout": "nonsense"})


def test_a_file_whose_name_ends_like_a_weight_is_that_file(folder: Path) -> None:
    (folder / "a.jsonl").rename(folder / "a:2")
    assert trained(load(folder, "a:2", "b.jsonl"))[:2] == ["A0", "A1"]


def test_a_typed_list_is_split_at_commas_outside_of_objects() -> None:
    assert split_list('b:2, {"path": "c", "split": "x"},d') == ["b:2", '{"path": "c", "split": "x"}', "d"]


# --- the rows


def test_rows_are_numbered_through_all_datasets(folder: Path) -> None:
    dataset = load(folder, "a.jsonl", "b.jsonl")
    assert [example.row for example in dataset.examples] == list(range(1, 15))
    assert [example.response for example in dataset.examples] == [f"A{n}" for n in range(10)] + [
        f"B{n}" for n in range(4)
    ]
    assert dataset.origin_of(12) == "row 2 of b.jsonl"
    assert [(part.name, part.first, part.last) for part in dataset.parts] == [("a.jsonl", 1, 10), ("b.jsonl", 11, 14)]


def test_a_whole_weight_takes_every_row_so_often(folder: Path) -> None:
    dataset = load(folder, "a.jsonl", "b.jsonl:3")
    assert len(dataset.examples) == 14  # the check and the split see a row once
    assert trained(dataset) == [f"A{n}" for n in range(10)] + [f"B{n}" for n in range(4) for _copy in range(3)]


def test_a_fraction_takes_some_rows_the_same_each_time(folder: Path) -> None:
    rows = trained(load(folder, "a.jsonl:0.5", "b.jsonl:1.5"))
    assert rows == trained(load(folder, "a.jsonl:0.5", "b.jsonl:1.5"))
    assert rows != trained(load(folder, "a.jsonl:0.5", "b.jsonl:1.5", seed=7))
    counts = Counter(rows)
    assert 0 < sum(counts[f"A{n}"] for n in range(10)) < 10
    assert {counts[f"B{n}"] for n in range(4)} == {1, 2}


@pytest.mark.parametrize("weights", [("", ""), (":2", ":0.5"), (":0.5", ":2.5"), (":1", ":3")])
def test_a_run_takes_the_rows_that_concat_writes(folder: Path, weights: tuple[str, str]) -> None:
    names = [f"a.jsonl{weights[0]}", f"b.jsonl{weights[1]}"]
    parts = [parse_part(name) for name in names]
    sources = [open_source(part.name, cwd=folder, cache=None) for part in parts]
    options = ReadOptions(cwd=folder)
    weighted = [WeightedSource(source, options, part.weight) for source, part in zip(sources, parts, strict=True)]
    concat_datasets(weighted, folder / "mix.jsonl", seed=42)
    written = load_dataset(folder / "mix.jsonl", cwd=folder)
    assert not written.problems
    assert trained(load(folder, *names, seed=42)) == [example.response for example in written.examples]


def test_each_dataset_has_its_own_options(folder: Path) -> None:
    dataset = load(folder, "b.jsonl", {"path": "c.csv", "text_field": "question", "response_field": "total"})
    assert dataset.problems  # c.csv has no column of images
    part = {"path": "c.csv", "layout": "alpaca", "text_field": "question", "response_field": "total", "weight": 2}
    dataset = load(folder, "b.jsonl", part)
    assert not dataset.problems
    assert trained(dataset) == ["B0", "B1", "B2", "B3", "C0", "C0", "C1", "C1", "C2", "C2"]
    assert [p.detected_format.layout for p in dataset.parts if p.detected_format] == ["messages", "alpaca"]


def test_named_datasets_keep_their_tables_apart(folder: Path) -> None:
    tables = {"totals": {"path": "c.csv", "layout": "alpaca", "text_field": "question", "response_field": "total"}}
    spec = resolve_named_datasets(make_spec("b.jsonl", "totals:2"), tables, {})
    assert spec.text_field == "text"
    dataset = load_dataset_from_spec(spec, cwd=folder, cache=None, check_images="none")
    assert trained(dataset)[-4:] == ["C1", "C1", "C2", "C2"]
    single = resolve_named_datasets(make_spec("totals:2"), tables, {})
    dataset = load_dataset_from_spec(single, cwd=folder, cache=None, check_images="none")
    assert trained(dataset) == ["C0", "C0", "C1", "C1", "C2", "C2"]
    flagged = resolve_named_datasets(make_spec("b.jsonl", "totals", text_field="total"), tables, {})
    assert "text_field" not in parse_part(flagged.additional_dataset[0]).options  # the flag wins


def test_a_bad_row_is_named_by_its_own_dataset(folder: Path) -> None:
    with (folder / "b.jsonl").open("a") as file:
        file.write('{"messages": []}\n')
    dataset = load(folder, "a.jsonl:2", "b.jsonl")
    assert [str(problem) for problem in dataset.problems] == ['row 5 of b.jsonl, field "messages": is empty']
    assert dataset.problems[0].row == 15


def test_rows_that_are_not_taken_are_not_refused(folder: Path) -> None:
    write(folder / "bad.jsonl", [{"text": "x?", "response": None, "image": None}] * 40)
    dataset = load(folder, "a.jsonl", "bad.jsonl:0.25")
    assert 0 < len(dataset.problems) < 40


def test_several_entries_of_a_description(folder: Path) -> None:
    entries = {
        "chat": {
            "file_name": "b.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
        },
        "totals": {"file_name": "c.csv", "columns": {"prompt": "question", "response": "total"}},
    }
    (folder / "dataset_info.json").write_text(json.dumps(entries))
    for name in ("dataset_info.json", "."):
        dataset = load(folder, name, dataset_config="chat,totals")
        assert not dataset.problems
        assert trained(dataset) == ["B0", "B1", "B2", "B3", "C0", "C1", "C2"]
