"""Splits, drawings and mixtures: the same seed, the same rows; no image on both sides; no row lost."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.core.dataset_parts import parse_weighted_path
from mg_tui.core.errors import UsageError
from mg_tui.data.checks.runner import CheckLimits
from mg_tui.data.convert.converter import ConvertRequest, convert
from mg_tui.data.fix import fix_dataset
from mg_tui.data.from_folder import create_from_folder
from mg_tui.data.image_resolver import ImageResolver
from mg_tui.data.row_loader import ReadOptions, load_rows
from mg_tui.data.sources.detection import detect_format
from mg_tui.data.sources.opener import open_source
from mg_tui.data.subset import WeightedSource, concat_datasets, sample_dataset, split_dataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(12):
        Image.new("RGB", (150, 150)).save(tmp_path / f"{number}.png")
    return tmp_path


def write_rows(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in rows))
    return path


def row(number: int, image: Any) -> dict[str, Any]:
    return {"text": f"Question {number}?", "image": image, "response": f"Answer {number}.", "id": number}


def open_dataset(path: Path) -> tuple[Any, ReadOptions]:
    folder = path.parent
    return open_source(str(path), cwd=folder, cache=folder / "cache"), ReadOptions(cwd=folder, cache=folder / "cache")


def read_rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def image_paths(rows: list[Any]) -> set[str]:
    reference = [
        item
        for entry in rows
        for item in ([entry["image"]] if isinstance(entry["image"], str) else entry["image"] or [])
    ]
    return {Path(name).name for name in reference}


def test_images_inside_rows_stay_in_their_order(folder: Path) -> None:
    """Two different ones a row: as files of the new dataset they are where they were."""
    for name, color in (("red", "red"), ("blue", "blue")):
        Image.new("RGB", (150, 150), color).save(folder / f"{name}.png")
    content = [
        {"role": "user", "content": "Is <image>\n left of <image>\n?"},
        {"role": "assistant", "content": "It is."},
    ]
    orders = [["red.png", "blue.png"], ["blue.png", "red.png"], ["red.png", "0.png"]]
    write_rows(folder / "data.jsonl", *({"messages": content, "images": images, "id": images[0]} for images in orders))
    source, _reading = open_dataset(folder / "data.jsonl")
    resolver = ImageResolver(source.base, None, folder, folder / "cache")
    request = ConvertRequest(folder / "inside.parquet")
    convert(source, detect_format(source), request, cache=folder / "cache", resolver=resolver)

    def images_of(path: Path) -> list[list[bytes]]:
        examples = [item.example for batch in load_rows(*open_dataset(path)) for item in batch]
        return [[Path(ref.path).read_bytes() for ref in example.images] for example in examples if example]

    inside = open_dataset(folder / "inside.parquet")
    sample_dataset(*inside, folder / "sample.jsonl", count=3, seed=1)
    fix_dataset(*inside, CheckLimits(2048, 784, 1_003_520), folder / "fixed.jsonl")
    concat_datasets([WeightedSource(*inside)], folder / "mixed.jsonl", seed=1)
    expected = [[(folder / name).read_bytes() for name in images] for images in orders]
    assert images_of(folder / "inside.parquet") == expected
    for name in ("sample.jsonl", "fixed.jsonl", "mixed.jsonl"):
        assert sorted(images_of(folder / name)) == sorted(expected), name


def test_no_image_is_on_both_sides(folder: Path) -> None:
    # Images 0 to 9 in several rows each; the same file under two names; two that hang together by a third row.
    rows = [row(number, [f"{number % 10}.png", f"./{number % 10}.png"][number % 2]) for number in range(60)]
    rows += [row(60, ["0.png", "1.png"]), row(61, None), row(62, [])]
    path = write_rows(folder / "data.jsonl", *rows, b"not json")
    train, held = folder / "train.jsonl", folder / "eval.jsonl"
    training, evaluation = split_dataset(*open_dataset(path), train, held, share=0.2, seed=1)
    lines = [*train.read_bytes().splitlines(), *held.read_bytes().splitlines()]
    assert sorted(lines) == sorted(path.read_bytes().splitlines())
    assert b"not json" in train.read_bytes()
    assert (training.rows + evaluation.rows, training.unwritable_rows) == (64, 0)
    assert 1 <= evaluation.rows <= 13
    held_rows = read_rows(held)
    train_rows = [json.loads(line) for line in train.read_bytes().splitlines() if line != b"not json"]
    assert not image_paths(held_rows) & image_paths(train_rows)
    again = folder / "again.jsonl"
    split_dataset(*open_dataset(path), folder / "t2.jsonl", again, share=0.2, seed=1)
    assert again.read_bytes() == held.read_bytes()
    split_dataset(*open_dataset(path), folder / "t3.jsonl", folder / "e3.jsonl", share=0.2, seed=2)
    assert (folder / "e3.jsonl").read_bytes() != held.read_bytes()


def test_what_cannot_be_split_is_said_and_nothing_is_written(folder: Path) -> None:
    path = write_rows(folder / "data.jsonl", *(row(number, "0.png") for number in range(5)))
    with pytest.raises(UsageError, match="cannot be split"):
        split_dataset(*open_dataset(path), folder / "t.jsonl", folder / "e.jsonl", share=0.5, seed=1)
    with pytest.raises(UsageError, match="are the same file"):
        split_dataset(*open_dataset(path), folder / "t.jsonl", folder / "t.jsonl", share=0.5, seed=1)
    assert not list(folder.glob("[te].jsonl"))


def test_a_drawing_keeps_order_and_seed(folder: Path) -> None:
    path = write_rows(folder / "data.jsonl", *(row(number, None) for number in range(200)))
    assert sample_dataset(*open_dataset(path), folder / "a.jsonl", count=20, seed=3).rows == 20
    sample_dataset(*open_dataset(path), folder / "b.jsonl", share=0.1, seed=3)
    assert (folder / "a.jsonl").read_bytes() == (folder / "b.jsonl").read_bytes()
    numbers = [entry["id"] for entry in read_rows(folder / "a.jsonl")]
    assert numbers == sorted(set(numbers))
    with pytest.raises(UsageError, match="201 of 200 rows"):
        sample_dataset(*open_dataset(path), folder / "c.jsonl", count=201, seed=3)


def test_weights(folder: Path) -> None:
    a = write_rows(folder / "a.jsonl", *(row(number, None) for number in range(100)))
    b = write_rows(folder / "b.jsonl", *(row(number, None) for number in range(1000, 1400)))
    c = write_rows(folder / "c.jsonl", *(row(number, None) for number in range(5000, 5100)))
    parts = [
        WeightedSource(*open_dataset(a), 2),
        WeightedSource(*open_dataset(b), 0.5),
        WeightedSource(*open_dataset(c), 1.5),
    ]
    done = concat_datasets(parts, folder / "mix.jsonl", seed=1)
    numbers = [entry["id"] for entry in read_rows(folder / "mix.jsonl")]
    assert len(numbers) == done.rows
    assert [numbers.count(number) for number in range(100)] == [2] * 100
    assert 160 < sum(1000 <= number < 1400 for number in numbers) < 240
    assert {numbers.count(number) for number in range(5000, 5100)} == {1, 2}
    concat_datasets(parts, folder / "same.jsonl", seed=1)
    assert (folder / "same.jsonl").read_bytes() == (folder / "mix.jsonl").read_bytes()


def test_datasets_of_other_folders_and_layouts_mix(folder: Path) -> None:
    Image.new("RGB", (150, 150), "red").save(write_rows(folder / "far" / "x.jsonl").with_name("far.png"))
    chat = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "<image>\nWhat is it?"},
            {"role": "assistant", "content": "A wall."},
        ],
        "images": ["far.png"],
    }
    far = write_rows(folder / "far" / "chat.jsonl", chat)
    near = write_rows(folder / "near.jsonl", row(1, "1.png"), row(2, ["2.png", "3.png"]), row(3, None))
    done = concat_datasets(
        [WeightedSource(*open_dataset(near)), WeightedSource(*open_dataset(far))], folder / "mix.jsonl", seed=1
    )
    assert (done.rows, done.unwritable_rows) == (4, 0)
    source, reading = open_dataset(folder / "mix.jsonl")
    (loaded,) = load_rows(source, reading)
    examples = [row.example for row in loaded if row.example is not None]
    assert [len(example.images) for example in examples] == [1, 2, 0, 1]
    assert [message.text for message in examples[3].messages] == ["Be brief.", "What is it?", "A wall."]
    assert examples[3].images[0].path == str(folder / "far" / "far.png")
    only_fields = concat_datasets(
        [
            WeightedSource(*open_dataset(near)),
            WeightedSource(
                *open_dataset(write_rows(folder / "q.jsonl", {"question": "Q", "image": "4.png", "answer": "A"}))
            ),
        ],
        folder / "fields.jsonl",
        seed=1,
    )
    assert only_fields.rows == 4
    assert read_rows(folder / "fields.jsonl")[0] == {"text": "Question 1?", "image": "1.png", "response": "Answer 1."}
    assert read_rows(folder / "fields.jsonl")[3] == {"text": "Q", "image": "4.png", "response": "A"}


def test_packed_lines_are_written_as_they_are_read(folder: Path) -> None:
    lines = [json.dumps(row(number, "1.png")).encode() for number in range(20)]
    lines[7] = b'{"damaged'
    path = folder / "data.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    done = concat_datasets([WeightedSource(*open_dataset(path), 2)], folder / "mix.jsonl", seed=1)
    assert (done.rows, done.unwritable_rows) == (40, 0)
    written_lines = (folder / "mix.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["id"] for line in written_lines if line != lines[7]] == [
        number for number in range(20) if number != 7 for _twice in range(2)
    ]
    assert written_lines.count(lines[7]) == 2
    calls: list[tuple[int, int]] = []
    source, reading = open_dataset(path)
    assert sum(len(batch) for batch in load_rows(source, reading, progress=lambda *now: calls.append(now))) == 20
    assert all(total == 0 for _done, total in calls)


@pytest.mark.parametrize(
    ("text", "name", "weight"),
    [("a.jsonl", "a.jsonl", 1.0), ("a.jsonl:2", "a.jsonl", 2.0), ("d:/x.jsonl:0.5", "d:/x.jsonl", 0.5),
     ("d:x.jsonl", "d:x.jsonl", 1.0), (":2", ":2", 1.0)],
)  # fmt: skip
def test_a_part_and_its_weight(text: str, name: str, weight: float) -> None:
    assert parse_weighted_path(text) == (name, weight)


@pytest.mark.parametrize("text", ["a:0", "a:-1", "a:1e9", "a:inf"])
def test_a_weight_that_means_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="invalid weight"):
        parse_weighted_path(text)


def test_a_folder_of_images(folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    (inner / "loop").symlink_to(folder)
    Image.new("RGB", (150, 150)).save(inner / "Ä b.JPG")
    (inner / "Ä b.txt").write_text("\ufeff A red wall.\n", encoding="utf-8")
    (folder / "broken.png").write_text("x")
    (folder / "notes.md").write_text("x")
    created = create_from_folder(folder, folder / "captions.jsonl", prompt="What is it?")
    assert (created.examples, created.captioned, created.rejected) == (13, 1, 1)
    assert "broken.png" in created.reasons[0]
    rows = read_rows(created.dataset)
    assert rows[-1] == {"text": "What is it?", "image": "inner/Ä b.JPG", "response": "A red wall."}
    assert {entry["response"] for entry in rows[:-1]} == {""}
    with pytest.raises(UsageError, match="already exists"):
        create_from_folder(folder, folder / "captions.jsonl")
    (folder / "empty").mkdir()
    with pytest.raises(UsageError, match="contains no images"):
        create_from_folder(folder / "empty", folder / "x.jsonl")
    with pytest.raises(UsageError, match="the image folder does not exist"):
        create_from_folder(folder / "nowhere", folder / "x.jsonl")
