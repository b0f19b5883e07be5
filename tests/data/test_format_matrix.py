"""Every format, with real photos among its images, browsed, checked, repaired, split, drawn from and mixed alike.

That every format trains is in tests/engine, and that each becomes every other in test_convert.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mg_tui.data.browser import open_browser
from mg_tui.data.checks.runner import CheckLimits, run_checks
from mg_tui.data.convert.converter import ConvertRequest, convert
from mg_tui.data.fix import fix_dataset
from mg_tui.data.image_resolver import ImageResolver
from mg_tui.data.row_loader import ReadOptions, RowLoader, load_rows
from mg_tui.data.sources.base import FORMATS
from mg_tui.data.sources.detection import detect_format
from mg_tui.data.sources.opener import open_source
from mg_tui.data.subset import WeightedSource, concat_datasets, sample_dataset, split_dataset
from mg_tui.data.synthetic import photos

NAMES = {
    "jsonl": "data.jsonl",
    "json": "data.json",
    "csv": "data.csv",
    "parquet": "data.parquet",
    "arrow": "data.arrow",
    "saved": "data-saved",
    "imagefolder": "data-folder",
    "webdataset": "data.tar",
}
COUNT = 90
LIMITS = CheckLimits(2048, 784, 1_003_520)


@pytest.fixture(scope="module")
def formats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One dataset in every format: three rows for each photo, one without an image, and one row twice."""
    folder = tmp_path_factory.mktemp("formats")
    source_folder = Path(photos.__file__).parent
    names = sorted(path.name for path in source_folder.glob("*.jpg"))
    for name in names:
        shutil.copy(source_folder / name, folder / name)
    rows: list[dict[str, Any]] = [
        {
            "text": f"What is in image {number}?",
            "image": names[number % len(names)],
            "response": f"It is the thing called {number}.",
        }
        for number in range(COUNT - 1)
    ]
    rows.append(rows[3])
    path = folder / "first.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for format, name in NAMES.items():
        source = open_source(str(path), cwd=folder, cache=folder / "cache")
        resolver = ImageResolver(source.base, None, folder, folder / "cache")
        requested = ConvertRequest(folder / name, format=format)
        convert(source, detect_format(source), requested, cache=folder / "cache", resolver=resolver)
    return folder


def open_dataset(folder: Path, format: str) -> tuple[Any, ReadOptions]:
    source = open_source(str(folder / NAMES[format]), cwd=folder, cache=folder / "cache")
    assert source.format == format
    return source, ReadOptions(cwd=folder, cache=folder / "cache")


def test_the_matrix_has_every_format_that_is_a_file() -> None:
    assert NAMES.keys() == FORMATS.keys() - {"hub"}


@pytest.mark.parametrize("format", NAMES)
def test_browse(formats: Path, format: str) -> None:
    source, reading = open_dataset(formats, format)
    browser = open_browser(source, formats / "cache")
    window = browser.read_rows(1, 10)
    numbers = [row.number for row in window]
    assert len(numbers) == 10 and numbers == sorted(numbers)
    assert browser.build_index()
    assert browser.last_row is not None and browser.last_row >= COUNT
    loader = RowLoader(source, reading)
    last = browser.read_row(browser.last_row)
    (loaded,) = loader.load([last])
    assert loaded.example is not None
    result = list(browser.find("CALLED 77."))
    assert len(result) == 1
    (loaded,) = loader.load([browser.read_row(result[0])])
    loader.close()
    assert loaded.example is not None
    assert loaded.example.response == "It is the thing called 77."
    assert len(loaded.example.images) == 1
    assert browser.read_row(numbers[3]) == window[3]


@pytest.mark.parametrize("format", NAMES)
def test_check_and_fix(formats: Path, format: str, tmp_path: Path) -> None:
    source, reading = open_dataset(formats, format)
    report = run_checks(source, reading, LIMITS)
    assert (report.rows, report.good_rows, report.blocks_run) == (COUNT, COUNT, False)
    assert report.counts["row-repeated"] == 1
    assert report.formats == {"JPEG": report.images}
    fixed = fix_dataset(source, reading, LIMITS, tmp_path / "fixed.jsonl")
    assert (fixed.rows_written, fixed.duplicates_dropped, fixed.rows_repaired) == (COUNT - 1, 1, 0)
    again = run_checks(
        open_source(str(tmp_path / "fixed.jsonl"), cwd=tmp_path, cache=None), ReadOptions(cwd=tmp_path), LIMITS
    )
    assert (again.good_rows, again.blocks_run, again.counts.get("row-repeated")) == (COUNT - 1, False, None)
    assert again.images == report.images


@pytest.mark.parametrize("format", NAMES)
def test_split_sample_and_mix(formats: Path, format: str, tmp_path: Path) -> None:
    def read_written(path: Path) -> tuple[int, set[bytes]]:
        source = open_source(str(path), cwd=tmp_path, cache=None)
        examples = [item.example for batch in load_rows(source, ReadOptions(cwd=tmp_path)) for item in batch]
        assert all(examples)
        return len(examples), {Path(ref.path).read_bytes() for item in examples if item for ref in item.images}

    source, reading = open_dataset(formats, format)
    training, evaluation = split_dataset(
        source, reading, tmp_path / "train.jsonl", tmp_path / "eval.jsonl", share=0.3, seed=1
    )
    (train, train_images), (held, held_images) = read_written(training.path), read_written(evaluation.path)
    assert (train + held, training.unwritable_rows) == (COUNT, 0)
    assert held and not train_images & held_images
    assert read_written(sample_dataset(source, reading, tmp_path / "some.jsonl", count=7, seed=1).path)[0] == 7
    chat = tmp_path / "chat.jsonl"
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    chat.write_text(json.dumps({"messages": turns}) + "\n")
    other = WeightedSource(open_source(str(chat), cwd=tmp_path, cache=None), ReadOptions(cwd=tmp_path), 3)
    mixed = concat_datasets([WeightedSource(source, reading), other], tmp_path / "mix.jsonl", seed=1)
    assert (mixed.rows, mixed.unwritable_rows) == (COUNT + 3, 0)
    assert read_written(mixed.path) == (COUNT + 3, train_images | held_images)
