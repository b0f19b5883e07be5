"""Large datasets are read and checked once: what the cache returns is what reading again would, or nothing."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.core.example import Example
from mg_tui.data import dataset as loading
from mg_tui.data import dataset_cache, loaded_dataset
from mg_tui.data.checks import runner
from mg_tui.data.checks.findings import CheckReport
from mg_tui.data.checks.runner import CheckLimits, run_checks
from mg_tui.data.dataset import load_dataset
from mg_tui.data.dataset_cache import DatasetCache
from mg_tui.data.digests import ContentFingerprint
from mg_tui.data.example_columns import ExampleColumns, compute_columns
from mg_tui.data.example_table import ExampleTable
from mg_tui.data.loaded_dataset import Dataset
from mg_tui.data.row_loader import ReadOptions, RowLoader
from mg_tui.data.rows import Row
from mg_tui.data.sources.base import Source
from mg_tui.data.sources.detection import detect_format
from mg_tui.data.sources.opener import open_source
from mg_tui.data.split import split_by_image

ROWS = 3000


@pytest.fixture(autouse=True)
def small_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Datasets of 100 rows are large."""
    monkeypatch.setattr(loaded_dataset, "MIN_TABLE_ROWS", 100)
    monkeypatch.setattr(loading, "MIN_TABLE_ROWS", 100)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    for number in range(7):
        Image.new("RGB", (40 + number, 30)).save(tmp_path / f"{number}.png")
    with (tmp_path / "rows.jsonl").open("w", encoding="utf-8") as out:
        for number in range(ROWS):
            images = None if number % 11 == 0 else [f"{number % 7}.png", f"./{number % 3}.png"][: 1 + number % 2]
            row = {"text": f"\u2028q\n{number} é", "image": images, "response": f"a\r\n{number}", "id": number}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
        out.write('{"text": "", "image": null, "response": "x"}\n')
    return tmp_path / "rows.jsonl"


def load(file: Path, **options: object) -> Dataset:
    return load_dataset(file, cwd=file.parent, cache=file.parent / "cache", **options)  # type: ignore[arg-type]


def load_uncached(file: Path) -> Dataset:
    return load_dataset(file, cwd=file.parent)


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows whenever a dataset's rows are read."""
    read: list[str] = []
    real = RowLoader.read_draft

    def read_draft(loader: RowLoader, row: Row) -> object:
        read.append("row")
        return real(loader, row)

    monkeypatch.setattr(RowLoader, "read_draft", read_draft)
    return read


def test_cached_rows_are_the_rows(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, first = load_uncached(file), load(file)
    read = reads(monkeypatch)
    second = load(file)
    assert not read
    for dataset in (first, second):
        assert isinstance(dataset.examples, ExampleTable)
        assert list(dataset.examples) == list(plain.examples)
        assert [dataset.examples[index] for index in (0, 1500, -1)] == [plain.examples[i] for i in (0, 1500, -1)]
        for name in (
            "problems",
            "image_locations",
            "image_infos",
            "notes",
            "unused_columns",
            "text_markers",
            "path",
            "last_row",
        ):
            assert getattr(dataset, name) == getattr(plain, name), name
    assert second.content == first.content is not None


def test_cached_rows_keep_all_their_references(file: Path) -> None:
    rows = [{"question": f"q{n}", "answers": ["blue", "navy", f"{n}"], "image": "1.png"} for n in range(150)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for _time in ("written", "read again"):
        examples = load(file).examples
        assert isinstance(examples, ExampleTable)
        assert list(examples) == list(load_uncached(file).examples)
        assert examples[7].references == ("blue", "navy", "7")


def test_columns_split_and_fingerprint_are_those_of_rows_in_memory(file: Path) -> None:
    plain, table = load_uncached(file).examples, load(file).examples
    assert isinstance(table, ExampleTable)
    assert as_lists(table.columns) == as_lists(compute_columns(plain))
    assert table.fingerprint == fingerprint(plain)
    train, held_out = split_by_image(table, 0.2, 3)
    expected_train, expected_held_out = split_by_image(plain, 0.2, 3)
    assert isinstance(train, ExampleTable)
    assert train.fingerprint is None
    assert tuple(train) == expected_train
    assert tuple(held_out) == expected_held_out
    assert as_lists(train.columns) == as_lists(compute_columns(expected_train))
    assert tuple(train[5:40:7]) == expected_train[5:40:7]


def as_lists(columns: ExampleColumns) -> list[object]:
    paths = [[columns.paths[image] for image in columns.images_of(index)] for index in range(len(columns))]
    return [columns.rows.tolist(), columns.keys.tolist(), columns.answers.tolist(), paths]


def fingerprint(examples: Iterable[Example]) -> str:
    content = ContentFingerprint()
    for example in examples:
        content.add(example)
    return content.value


@pytest.mark.parametrize("change", ["row", "image", "image root", "prompt", "field"])
def test_a_change_is_read(file: Path, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = file.parent / "root"
    root.mkdir()
    (file.parent / "6.png").rename(root / "6.png")
    load(file, image_root=root)
    read = reads(monkeypatch)
    load(file, image_root=root)
    assert not read
    options: dict[str, object] = {"image_root": root}
    match change:
        case "row":
            text = file.read_text(encoding="utf-8")
            file.write_text(text.replace("a\\r\\n17", "b\\r\\n17"), encoding="utf-8")
        case "image":
            Image.new("RGB", (99, 30)).save(file.parent / "3.png")
        case "image root":  # one of the same name is now found first
            Image.new("RGB", (99, 30)).save(file.parent / "6.png")
        case "prompt":
            options["system_prompt"] = "Be brief."
        case "field":
            options["fields"] = loading.FieldMap(ignored=frozenset({"id"}))
    changed = load(file, **options)
    assert len(read) == ROWS + 1
    plain = load_dataset(file, cwd=file.parent, **options)  # type: ignore[arg-type]
    assert list(changed.examples) == list(plain.examples)
    assert changed.image_infos == plain.image_infos


@pytest.mark.parametrize("damage", ["examples", "description", "missing", "truncated"])
def test_a_damaged_cache_is_absent(file: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(load(file).examples)
    (described,) = (file.parent / "cache" / "rows").glob("*.json")
    (examples,) = (file.parent / "cache" / "rows").glob("*.examples")
    victim = described if damage == "description" else examples
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    match damage:
        case "missing":
            victim.unlink()
        case "truncated":
            victim.write_bytes(data[:100])
        case _:
            victim.write_bytes(data)
    read = reads(monkeypatch)
    assert list(load(file).examples) == expected
    assert read


def test_rows_with_unusable_images_are_not_cached(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file.parent / "4.png").unlink()
    dataset, plain = load(file), load_uncached(file)
    assert list(dataset.examples) == list(plain.examples)
    assert dataset.problems == plain.problems
    assert dataset.content is None
    assert not list((file.parent / "cache" / "rows").iterdir())
    Image.new("RGB", (44, 30)).save(file.parent / "4.png")
    assert len(load(file).examples) == ROWS


def test_headers_do_not_stand_for_decoded_images(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(file, check_images="header")
    read = reads(monkeypatch)
    load(file, check_images="decode")
    assert read
    read.clear()
    load(file, check_images="header")
    assert not read


def test_a_file_that_changes_while_it_is_read_is_not_cached(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = dataset_cache.DatasetRecorder.finish

    def finish(recorder: dataset_cache.DatasetRecorder, detected: object) -> Dataset:
        os.utime(file, ns=(1, 1))
        return real(recorder, detected)  # type: ignore[arg-type]

    monkeypatch.setattr(dataset_cache.DatasetRecorder, "finish", finish)
    dataset = load(file)
    assert dataset.content is None
    assert len(list(dataset.examples)) == ROWS
    assert not list((file.parent / "cache" / "rows").iterdir())


def test_a_table_may_be_read_after_a_fork(file: Path) -> None:
    table = load(file).examples
    assert isinstance(table, ExampleTable)
    assert table[0].row == 1
    child = os.fork()
    if child == 0:
        os._exit(0 if [example.row for example in table] == table.columns.rows.tolist() else 1)
    assert [example.row for example in table] == list(range(1, ROWS + 1))
    assert os.waitpid(child, 0)[1] == 0


# --- reports of checks


def check(file: Path, *, length: int = 100, evaluation: Path | None = None) -> CheckReport:
    def opened(path: Path) -> tuple[Source, ReadOptions]:
        source = open_source(str(path), cwd=file.parent, cache=file.parent / "cache")
        detected = detect_format(source)
        return source, ReadOptions(detected_format=detected, cwd=file.parent, cache=file.parent / "cache")

    limits = CheckLimits(length, 3136, 1_003_520)
    source, options = opened(file)
    return run_checks(source, options, limits, evaluation=opened(evaluation) if evaluation else None)


def test_a_second_check_is_the_first_report(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = check(file)
    read = reads(monkeypatch)
    second = check(file)
    assert not read
    assert second.as_dict() | {"seconds": 0} == first.as_dict() | {"seconds": 0}
    assert second.findings == first.findings
    assert second.rows_by_kind == first.rows_by_kind
    assert second.pixels.counts == first.pixels.counts
    assert second.bad_rows() == [ROWS + 1]


def test_a_check_with_other_limits_or_another_evaluation_dataset_is_made(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(file)
    made: list[str] = []
    real = runner.check_loaded_rows

    def check_rows(*arguments: Any, **options: Any) -> CheckReport:
        made.append("check")
        return real(*arguments, **options)

    monkeypatch.setattr(runner, "check_loaded_rows", check_rows)
    check(file)
    assert not made
    check(file, length=99)
    assert len(made) == 1
    other = tmp_path / "eval.jsonl"
    other.write_text(file.read_text(encoding="utf-8").split("\n")[5] + "\n", encoding="utf-8")
    assert "overlap" in " ".join(check(file, evaluation=other).counts)
    assert len(made) == 2
    check(file, evaluation=other)
    assert len(made) == 2
    other.write_text(file.read_text(encoding="utf-8").split("\n")[6] + "\n", encoding="utf-8")
    check(file, evaluation=other)
    assert len(made) == 3


def test_a_damaged_report_is_absent(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = check(file)
    (report,) = (file.parent / "cache" / "checks").glob("*.json")
    report.write_bytes(report.read_bytes().replace(b'"rows": 3001', b'"rows": 4001'))
    read = reads(monkeypatch)
    assert check(file).rows == first.rows
    assert read


def test_a_check_writes_the_rows_that_a_run_reads(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(file)
    read = reads(monkeypatch)
    dataset = load(file, check_images="header")
    assert not read
    plain = load_uncached(file)
    assert list(dataset.examples) == list(plain.examples)
    assert dataset.problems == plain.problems


def test_sources_without_known_files_are_not_cached(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "A wall."}\n')
    source = open_source(str(tmp_path), cwd=tmp_path, cache=tmp_path / "cache")
    options = ReadOptions(detected_format=detect_format(source), cwd=tmp_path, cache=tmp_path / "cache")
    assert DatasetCache.of(source, options) is None
