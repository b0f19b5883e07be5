"""Splits, drawings and mixtures: the same seed, the same rows; no picture on both sides; no row lost."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.core.errors import UsageError
from mg_tui.data.checking import Reading, judge_rows
from mg_tui.data.draw import Part, concat, parse_part, sample, split
from mg_tui.data.from_folder import create_from_folder
from mg_tui.data.sources.base import open_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(12):
        Image.new("RGB", (150, 150)).save(tmp_path / f"{number}.png")
    return tmp_path


def written(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in rows))
    return path


def row(number: int, image: Any) -> dict[str, Any]:
    return {"text": f"Question {number}?", "image": image, "response": f"Answer {number}.", "id": number}


def opened(path: Path) -> tuple[Any, Reading]:
    folder = path.parent
    return open_source(str(path), cwd=folder, cache=folder / "cache"), Reading(cwd=folder, cache=folder / "cache")


def rows_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def shown(rows: list[Any]) -> set[str]:
    given = [item for one in rows for item in ([one["image"]] if isinstance(one["image"], str) else one["image"] or [])]
    return {Path(name).name for name in given}


def test_no_picture_is_on_both_sides(folder: Path) -> None:
    # Pictures 0 to 9 in several rows each; the same file under two names; two that hang together by a third row.
    rows = [row(number, [f"{number % 10}.png", f"./{number % 10}.png"][number % 2]) for number in range(60)]
    rows += [row(60, ["0.png", "1.png"]), row(61, None), row(62, [])]
    path = written(folder / "data.jsonl", *rows, b"not json")
    train, held = folder / "train.jsonl", folder / "eval.jsonl"
    kept, parted = split(*opened(path), train, held, share=0.2, seed=1)
    lines = [*train.read_bytes().splitlines(), *held.read_bytes().splitlines()]
    assert sorted(lines) == sorted(path.read_bytes().splitlines())
    assert b"not json" in train.read_bytes()
    assert (kept.rows + parted.rows, kept.lost) == (64, 0)
    assert 1 <= parted.rows <= 13
    held_rows = rows_of(held)
    train_rows = [json.loads(line) for line in train.read_bytes().splitlines() if line != b"not json"]
    assert not shown(held_rows) & shown(train_rows)
    again = folder / "again.jsonl"
    split(*opened(path), folder / "t2.jsonl", again, share=0.2, seed=1)
    assert again.read_bytes() == held.read_bytes()
    split(*opened(path), folder / "t3.jsonl", folder / "e3.jsonl", share=0.2, seed=2)
    assert (folder / "e3.jsonl").read_bytes() != held.read_bytes()


def test_what_cannot_be_split_is_said_and_nothing_is_written(folder: Path) -> None:
    path = written(folder / "data.jsonl", *(row(number, "0.png") for number in range(5)))
    with pytest.raises(UsageError, match="nothing can be parted off"):
        split(*opened(path), folder / "t.jsonl", folder / "e.jsonl", share=0.5, seed=1)
    with pytest.raises(UsageError, match="would be one file"):
        split(*opened(path), folder / "t.jsonl", folder / "t.jsonl", share=0.5, seed=1)
    assert not list(folder.glob("[te].jsonl"))


def test_a_drawing_keeps_order_and_seed(folder: Path) -> None:
    path = written(folder / "data.jsonl", *(row(number, None) for number in range(200)))
    assert sample(*opened(path), folder / "a.jsonl", count=20, seed=3).rows == 20
    sample(*opened(path), folder / "b.jsonl", share=0.1, seed=3)
    assert (folder / "a.jsonl").read_bytes() == (folder / "b.jsonl").read_bytes()
    numbers = [one["id"] for one in rows_of(folder / "a.jsonl")]
    assert numbers == sorted(set(numbers))
    with pytest.raises(UsageError, match="201 of 200 rows"):
        sample(*opened(path), folder / "c.jsonl", count=201, seed=3)


def test_weights(folder: Path) -> None:
    a = written(folder / "a.jsonl", *(row(number, None) for number in range(100)))
    b = written(folder / "b.jsonl", *(row(number, None) for number in range(1000, 1400)))
    c = written(folder / "c.jsonl", *(row(number, None) for number in range(5000, 5100)))
    parts = [Part(*opened(a), 2), Part(*opened(b), 0.5), Part(*opened(c), 1.5)]
    done = concat(parts, folder / "mix.jsonl", seed=1)
    numbers = [one["id"] for one in rows_of(folder / "mix.jsonl")]
    assert len(numbers) == done.rows
    assert [numbers.count(number) for number in range(100)] == [2] * 100
    assert 160 < sum(1000 <= number < 1400 for number in numbers) < 240
    assert {numbers.count(number) for number in range(5000, 5100)} == {1, 2}
    concat(parts, folder / "same.jsonl", seed=1)
    assert (folder / "same.jsonl").read_bytes() == (folder / "mix.jsonl").read_bytes()


def test_datasets_of_other_folders_and_layouts_mix(folder: Path) -> None:
    Image.new("RGB", (150, 150), "red").save(written(folder / "far" / "x.jsonl").with_name("far.png"))
    chat = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "<image>\nWhat is it?"},
            {"role": "assistant", "content": "A wall."},
        ],
        "images": ["far.png"],
    }
    far = written(folder / "far" / "chat.jsonl", chat)
    near = written(folder / "near.jsonl", row(1, "1.png"), row(2, ["2.png", "3.png"]), row(3, None))
    done = concat([Part(*opened(near)), Part(*opened(far))], folder / "mix.jsonl", seed=1)
    assert (done.rows, done.lost) == (4, 0)
    source, reading = opened(folder / "mix.jsonl")
    (judged,) = judge_rows(source, reading)
    examples = [one.example for one in judged]
    assert [len(example.images) for example in examples if example] == [1, 2, 0, 1]
    assert [message.text for message in examples[3].messages] == ["Be brief.", "What is it?", "A wall."]
    assert examples[3].images[0].path == str(folder / "far" / "far.png")
    only_fields = concat(
        [
            Part(*opened(near)),
            Part(*opened(written(folder / "q.jsonl", {"question": "Q", "image": "4.png", "answer": "A"}))),
        ],
        folder / "fields.jsonl",
        seed=1,
    )
    assert only_fields.rows == 4
    assert rows_of(folder / "fields.jsonl")[0] == {"text": "Question 1?", "image": "1.png", "response": "Answer 1."}
    assert rows_of(folder / "fields.jsonl")[3] == {"text": "Q", "image": "4.png", "response": "A"}


def test_packed_lines_are_written_as_they_are_read(folder: Path) -> None:
    lines = [json.dumps(row(number, "1.png")).encode() for number in range(20)]
    lines[7] = b'{"damaged'
    path = folder / "data.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    done = concat([Part(*opened(path), 2)], folder / "mix.jsonl", seed=1)
    assert (done.rows, done.lost) == (40, 0)
    written_lines = (folder / "mix.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["id"] for line in written_lines if line != lines[7]] == [
        number for number in range(20) if number != 7 for _twice in range(2)
    ]
    assert written_lines.count(lines[7]) == 2
    told: list[tuple[int, int]] = []
    source, reading = opened(path)
    assert sum(len(portion) for portion in judge_rows(source, reading, progress=lambda *now: told.append(now))) == 20
    assert all(total == 0 for _done, total in told)


@pytest.mark.parametrize(
    ("text", "name", "weight"),
    [("a.jsonl", "a.jsonl", 1.0), ("a.jsonl:2", "a.jsonl", 2.0), ("d:/x.jsonl:0.5", "d:/x.jsonl", 0.5),
     ("d:x.jsonl", "d:x.jsonl", 1.0), (":2", ":2", 1.0)],
)  # fmt: skip
def test_a_part_and_its_weight(text: str, name: str, weight: float) -> None:
    assert parse_part(text) == (name, weight)


@pytest.mark.parametrize("text", ["a:0", "a:-1", "a:1e9", "a:inf"])
def test_a_weight_that_means_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="means nothing"):
        parse_part(text)


def test_a_folder_of_pictures(folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    (inner / "loop").symlink_to(folder)
    Image.new("RGB", (150, 150)).save(inner / "Ä b.JPG")
    (inner / "Ä b.txt").write_text("\ufeff A red wall.\n", encoding="utf-8")
    (folder / "broken.png").write_text("x")
    (folder / "notes.md").write_text("x")
    made = create_from_folder(folder, folder / "captions.jsonl", prompt="What is it?")
    assert (made.examples, made.captioned, made.refused) == (13, 1, 1)
    assert "broken.png" in made.reasons[0]
    rows = rows_of(made.dataset)
    assert rows[-1] == {"text": "What is it?", "image": "inner/Ä b.JPG", "response": "A red wall."}
    assert {one["response"] for one in rows[:-1]} == {""}
    with pytest.raises(UsageError, match="already there"):
        create_from_folder(folder, folder / "captions.jsonl")
    (folder / "empty").mkdir()
    with pytest.raises(UsageError, match="has no pictures"):
        create_from_folder(folder / "empty", folder / "x.jsonl")
    with pytest.raises(UsageError, match="no such folder"):
        create_from_folder(folder / "nowhere", folder / "x.jsonl")
