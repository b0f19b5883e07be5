"""Datasets that look like one thing and are another: each is read as what it is, or asked about; never a silent guess.

The corpora are made here, one per way in which a dataset was once read wrongly without a word.
"""

import csv
import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from mg_tui.cli.datasets import datasets
from mg_tui.config import Settings
from mg_tui.core.errors import DataError
from mg_tui.core.example import Example, TextPart
from mg_tui.data.dataset import Dataset, load_dataset
from mg_tui.data.field_map import FieldMap


def load(path: Path, *ignored: str, **options: Any) -> Dataset:
    fields = options.pop("fields", FieldMap(ignored=frozenset(ignored)))
    return load_dataset(path, fields, cwd=path.parent, cache=path.parent / ".cache", **options)


def parts(example: Example) -> list[tuple[str, list[str]]]:
    """Every message as its role and parts; an image is its file's name in brackets."""
    return [
        (
            message.role,
            [
                part.text if isinstance(part, TextPart) else f"[{Path(part.image.original).name}]"
                for part in message.parts
            ],
        )
        for message in example.messages
    ]


def only(dataset: Dataset) -> list[tuple[str, list[str]]]:
    assert not dataset.problems, [str(problem) for problem in dataset.problems]
    assert len(dataset.examples) == 1
    return parts(dataset.examples[0])


def refused(dataset: Dataset, column: str | None, words: str) -> str:
    """Every row is refused, and for this column; returns the hint."""
    assert not dataset.examples, parts(dataset.examples[0])
    found = [p for p in dataset.problems if (column is None or p.field == column) and words in p.what]
    assert found, [str(problem) for problem in dataset.problems]
    return found[0].hint or ""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        Image.effect_noise((32, 32), 60).convert("RGB").save(tmp_path / name)
    return tmp_path


def write(folder: Path, *rows: dict[str, Any], name: str = "data.jsonl") -> Path:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


def save_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16)).save(path)


# --- 1: folders


@pytest.mark.parametrize(
    ("description", "images"),
    [
        ("train.jsonl", ["images/1.png", "images/2.png"]),
        ("train.json", ["cats/1.png", "dogs/2.png"]),
        ("captions.txt", ["Images/1.png", "Images/2.png"]),
        ("annotations.csv", ["images/a/1.png", "images/b/2.png"]),
        ("notes/boxes.xml", ["cats/1.png", "dogs/2.png"]),
    ],
)
def test_a_folder_with_a_description_is_not_class_folders(tmp_path: Path, description: str, images: list[str]) -> None:
    for name in images:
        save_image(tmp_path / "set" / name)
    (tmp_path / "set" / description).parent.mkdir(exist_ok=True)
    (tmp_path / "set" / description).write_text('{"text": "a", "image": "images/1.png", "response": "b"}\n')
    with pytest.raises(DataError, match="description") as caught:
        load(tmp_path / "set")
    assert Path(description).name in str(caught.value.hint)
    assert "--dataset-format imagefolder" in str(caught.value.hint)
    forced = load(tmp_path / "set", format="imagefolder")
    assert len(forced.examples) == 2


def test_one_class_is_no_class_folder_dataset(tmp_path: Path) -> None:
    for name in ("images/1.png", "images/2.png"):
        save_image(tmp_path / "set" / name)
    with pytest.raises(DataError, match="only one folder"):
        load(tmp_path / "set")
    assert [e.response for e in load(tmp_path / "set", format="imagefolder").examples] == ["images", "images"]


def test_folders_named_after_splits_or_images_are_not_classes(tmp_path: Path) -> None:
    for name in ("train_images/1.png", "test_images/2.png"):
        save_image(tmp_path / "data" / name)
    with pytest.raises(DataError, match="not names of classes"):
        load(tmp_path / "data")


def test_yolo_boxes_are_not_captions(tmp_path: Path) -> None:
    for name in ("images/train/1.png", "images/train/2.png"):
        save_image(tmp_path / "yolo" / name)
    (tmp_path / "yolo" / "labels" / "train").mkdir(parents=True)
    (tmp_path / "yolo" / "labels" / "train" / "1.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "yolo" / "data.yaml").write_text("names: [cat]\n")
    with pytest.raises(DataError, match="description"):
        load(tmp_path / "yolo")
    save_image(tmp_path / "darknet" / "1.png")
    (tmp_path / "darknet" / "1.txt").write_text("0 0.5 0.5 0.2 0.2\n1 0.25 0.5 0.1 0.1\n")
    refused(load(tmp_path / "darknet"), None, "boxes")


def test_videos_and_audio_of_a_folder_are_named(tmp_path: Path) -> None:
    for name in ("cats/1.png", "dogs/2.png"):
        save_image(tmp_path / "set" / name)
    (tmp_path / "set/cats/clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    (tmp_path / "set/dogs/bark.WAV").write_bytes(b"RIFF")
    dataset = load(tmp_path / "set")
    assert [example.response for example in dataset.examples] == ["cats", "dogs"]
    assert [str(problem.what) for problem in dataset.problems] == [
        "cats/clip.mp4 is a video, which is not supported",
        "dogs/bark.WAV is audio, which is not supported",
    ]


# --- 2: shards


def test_members_of_a_shard_that_are_not_read_are_named(tmp_path: Path) -> None:
    image = io.BytesIO()
    Image.new("RGB", (28, 28), "red").save(image, "PNG")
    members = {"a.png": image.getvalue(), "a.txt": b"one", "a.npy": b"x", "b.png": image.getvalue(), "b.txt": b"two"}
    members |= {"b.mp4": b"x", "c.flac": b"x", "c.png": image.getvalue(), "c.txt": b"three"}
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    dataset = load(tmp_path / "set.tar")
    assert [example.response for example in dataset.examples] == ["one"]
    assert dict(dataset.unused_columns) == {".npy": 1}
    assert [(problem.row, problem.field) for problem in dataset.problems] == [(2, "video"), (3, "audio")]
    assert len(load(tmp_path / "set.tar", "video", "audio").examples) == 3


def shard(count: int, first: int = 0) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(first, first + count):
            data = json.dumps({"text": f"q{number}", "image": None, "response": f"a{number}"}).encode()
            member = tarfile.TarInfo(f"{number:03}.json")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


MEMBER = 1024  # bytes of one member of `shard`: a header and a block


def test_a_flipped_bit_in_a_header_of_a_tar_is_an_error(tmp_path: Path) -> None:
    data = bytearray(shard(10))
    data[4 * MEMBER + 20] ^= 1
    (tmp_path / "a.tar").write_bytes(data)
    dataset = load(tmp_path / "a.tar")
    assert len(dataset.examples) == 4
    assert "damaged or truncated" in dataset.problems[-1].what


@pytest.mark.parametrize("end", [4 * MEMBER, 4 * MEMBER + 300])
def test_a_tar_cut_at_a_member_is_an_error(tmp_path: Path, end: int) -> None:
    (tmp_path / "a.tar").write_bytes(shard(10)[:end])
    dataset = load(tmp_path / "a.tar")
    assert len(dataset.examples) == 4
    assert "damaged or truncated" in dataset.problems[-1].what


def test_two_tars_joined_are_read_to_the_end(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(shard(4) + shard(6, 4))
    dataset = load(tmp_path / "a.tar")
    assert [e.response for e in dataset.examples] == [f"a{n}" for n in range(10)]
    (tmp_path / "a.tar").write_bytes(shard(4) + b"garbage" * 200)
    assert "damaged or truncated" in load(tmp_path / "a.tar").problems[-1].what


def test_the_checksum_of_a_compressed_tar_is_verified(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(shard(4)))
    (tmp_path / "a.tar.gz").write_bytes(data)
    assert len(load(tmp_path / "a.tar.gz").examples) == 4
    data[-8] ^= 0xFF
    (tmp_path / "a.tar.gz").write_bytes(data)
    with pytest.raises(DataError, match="CRC"):
        load(tmp_path / "a.tar.gz")


# --- 3 and 4: questions


ALPACA = {"instruction": "Name a color.", "input": "", "output": "Red."}


def test_a_rendered_text_column_does_not_replace_the_instruction(folder: Path) -> None:
    row = {**ALPACA, "text": "### Instruction:\nName a color.\n\n### Response:\nRed."}
    assert only(load(write(folder, row))) == [("user", ["Name a color."]), ("assistant", ["Red."])]


def test_another_question_beside_the_instruction_is_asked_about(folder: Path) -> None:
    path = write(folder, {**ALPACA, "text": "Something else.", "image": None})
    assert "--ignore-column text" in refused(load(path), "text", "question")
    assert only(load(path, "text"))[0] == ("user", ["Name a color."])
    fields = FieldMap(response="output", ignored=frozenset({"instruction"}))
    assert only(load(path, fields=fields))[0] == ("user", ["Something else."])


@pytest.mark.parametrize("name", ["question", "prompt", "text"])
def test_a_question_beside_a_caption_is_not_dropped(folder: Path, name: str) -> None:
    path = write(folder, {name: "How many?", "image": "a.png", "caption": "Two cups."})
    hint = refused(load(path), name, "question")
    assert f"--ignore-column {name}" in hint
    assert f"--text-field {name} --response-field caption" in hint
    asked = load(path, fields=FieldMap(text=name, response="caption"))
    assert only(asked) == [("user", ["[a.png]", "How many?"]), ("assistant", ["Two cups."])]
    assert only(load(path, name))[0] == ("user", ["[a.png]", "Describe this image."])


def test_two_answers_are_asked_about(folder: Path) -> None:
    path = write(folder, {"question": "How many?", "image": "a.png", "answer": "2", "response": "Two cups."})
    assert "--ignore-column" in refused(load(path), None, "answer")
    same = {"question": "How many?", "image": "a.png", "multiple_choice_answer": "2", "answers": ["2", "2", "3"]}
    assert only(load(write(folder, same)))[1] == ("assistant", ["2"])


# --- 5: columns that matter


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"A": "red", "B": "blue", "C": "green", "D": "gray"}, "A"),
        ({"options": ["red", "blue"]}, "options"),
        ({"choices": ["red", "blue"]}, "choices"),
        ({"context": "The cup is blue."}, "context"),
        ({"hint": "It is a cold color."}, "hint"),
    ],
)
def test_options_and_context_are_not_dropped(folder: Path, columns: dict[str, Any], named: str) -> None:
    row = {"question": "Which color?", "image": "a.png", "answer": "B", **columns}
    assert f"--ignore-column {named}" in refused(load(write(folder, row)), named, "")
    assert only(load(write(folder, row), *columns))[1] == ("assistant", ["B"])


def test_options_that_are_in_the_question_are_accounted_for(folder: Path) -> None:
    row = {"question": "Which color?\nA. red\nB. blue", "image": "a.png", "answer": "B", "options": ["red", "blue"]}
    assert only(load(write(folder, row)))[1] == ("assistant", ["B"])


# --- 6: refusals hold in every layout


@pytest.mark.parametrize(
    "columns",
    [
        {"video": "v.mp4"},
        {"audios": ["a.wav"]},
        {"objects": {"bbox": [[1, 2, 3, 4]], "ref": ["cup"]}},
        {"history": [["Hi", "Hello"]]},
        {"rejected_response": "Bad."},
        {"chosen": "Good."},
        {"tools": '[{"name": "search"}]'},
        {"loss_scale": 0.5},
        {"max_pixels": 1000},
        {"label": False},
        {"kto_tag": True},
    ],
)
@pytest.mark.parametrize("layout", ["fields", "vqa", "messages", "captions"])
def test_what_a_layout_cannot_hold_is_refused_in_every_layout(
    folder: Path, columns: dict[str, Any], layout: str
) -> None:
    layouts: dict[str, dict[str, Any]] = {
        "fields": {"text": "What?", "image": "a.png", "response": "A cup."},
        "vqa": {"question": "What?", "image": "a.png", "answer": "A cup."},
        "captions": {"image": "a.png", "caption": "A cup."},
        "messages": {
            "messages": [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "A cup."}],
            "images": ["a.png"],
        },
    }
    row = layouts[layout]
    (name,) = columns
    assert f"--ignore-column {name}" in refused(load(write(folder, {**row, **columns})), name, "")
    assert only(load(write(folder, {**row, **columns}), name))[-1] == ("assistant", ["A cup."])
    assert only(load(write(folder, {**row, name: None})))[-1] == ("assistant", ["A cup."])


def test_rejected_answers_of_a_kto_dataset_are_not_learned(folder: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    dataset = load(write(folder, {"messages": turns, "label": True}, {"messages": turns, "label": False}))
    refused(dataset, "label", "")


# --- 7, 8: images


@pytest.mark.parametrize(("question", "answer"), [("text", "response"), ("question", "answer")])
def test_placeholders_in_fields_and_vqa_place_the_image(folder: Path, question: str, answer: str) -> None:
    row = {question: "Compare <image> with <image>.", "image": ["a.png", "b.png"], answer: "Equal."}
    assert only(load(write(folder, row)))[0] == ("user", ["Compare ", "[a.png]", " with ", "[b.png]", "."])
    refused(load(write(folder, {**row, "image": "a.png"})), question, "2 <image> placeholders")


def test_a_null_image_does_not_hide_the_images_column(folder: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "What?", "image": None, "images": ["a.png"], "response": "A cup."},
        {"question": "What?", "image": None, "images": ["a.png"], "answer": "A cup."},
        {"image": None, "images": ["a.png"], "query": "What?", "response": "A cup."},
    ]
    for row in rows:
        assert only(load(write(folder, row)))[0] == ("user", ["[a.png]", "What?"])


@pytest.mark.parametrize("second", ["images", "image2", "image_2"])
def test_a_second_image_column_is_not_dropped(folder: Path, second: str) -> None:
    value: Any = ["b.png"] if second == "images" else "b.png"
    row = {"text": "What?", "image": "a.png", second: value, "response": "A cup."}
    assert f"--ignore-column {second}" in refused(load(write(folder, row)), second, "image")
    assert only(load(write(folder, row), second))[0] == ("user", ["[a.png]", "What?"])
    same = {**row, "images": ["a.png"]}
    same.pop(second) if second != "images" else None
    assert only(load(write(folder, same)))[0] == ("user", ["[a.png]", "What?"])


def test_an_image_column_of_another_name_is_not_dropped_from_a_conversation(folder: Path) -> None:
    turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "A cup."}]
    path = write(folder, {"messages": turns, "picture": "a.png"})
    assert "--image-field picture" in refused(load(path), "picture", "image")
    assert only(load(path, fields=FieldMap(image="picture")))[0] == ("user", ["[a.png]", "What?"])


# --- 9: weights of turns and rows


def test_a_loss_scale_of_zero_is_not_learned(folder: Path) -> None:
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "loss_scale": 0.0},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d", "loss_scale": 1.0},
    ]
    (example,) = load(write(folder, {"messages": turns})).examples
    assert [m.supervised for m in example.messages if m.role == "assistant"] == [False, True]
    for key in ("loss_scale", "weight"):
        turns[1] = {"role": "assistant", "content": "b", key: 0.5}
        refused(load(write(folder, {"messages": turns})), "messages", key)


@pytest.mark.parametrize(
    "extra", [{"function_call": {"name": "f"}}, {"reasoning_content": "Hm."}, {"images": ["a.png"]}]
)
def test_keys_of_a_turn_that_matter_are_refused(folder: Path, extra: dict[str, Any]) -> None:
    (key,) = extra
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", **extra}]
    path = write(folder, {"messages": turns})
    assert f"--ignore-column messages.{key}" in refused(load(path), "messages", key)
    assert only(load(path, f"messages.{key}"))[1] == ("assistant", ["b"])


# --- 10, 12: lists


def test_a_list_of_answers_in_a_csv_cell_is_not_learned_as_json(folder: Path) -> None:
    def table(name: str, answer: str) -> Path:
        with (folder / "data.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["question", "image", name], ["Who?", "a.png", answer]])
        return folder / "data.csv"

    assert only(load(table("answers", '["y", "x", "x"]')))[1] == ("assistant", ["x"])
    refused(load(table("answer", '["x", "x", "y"]')), "answer", "JSON list")
    assert only(load(table("answer", "[1, 2, 3, 4]")))[1] == ("assistant", ["[1, 2, 3, 4]"])
    with (folder / "fields.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text", "image", "response"], ["Who?", "a.png", '["x", "x", "y"]']])
    refused(load(folder / "fields.csv"), "response", "JSON list")


def test_a_list_of_texts_as_the_value_of_a_turn_is_not_joined(folder: Path) -> None:
    row = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": ["a", "b"]}]}
    refused(load(write(folder, row)), "conversations", "list of texts")


# --- 11: markers


@pytest.mark.parametrize(
    "marker", ["<img>a.png</img>", "<video>", "<audio>", "<image_3>", "<ImageHere>", "<|image|>", "<|image_pad|>"]
)
def test_markers_of_other_tools_are_not_left_as_text(folder: Path, marker: str) -> None:
    turns = [{"role": "user", "content": f"{marker}What?"}, {"role": "assistant", "content": "A cup."}]
    rows: list[dict[str, Any]] = [
        {"messages": turns, "images": ["a.png"]},
        {"text": turns[0]["content"], "response": "A cup.", "image": "a.png"},
    ]
    for row in rows:
        path = write(folder, row)
        assert "--ignore-column" in refused(load(path), None, "marker")
        name = "<img>" if marker.startswith("<img>") else marker
        assert only(load(path, name))[0] == ("user", ["[a.png]", f"{marker}What?"])


def test_numbered_markers_that_match_the_images_place_them(folder: Path) -> None:
    for first, second in (("<image_1>", "<image_2>"), ("<|image_1|>", "<|image_2|>"), ("<image 1>", "<image 2>")):
        row = {"question": f"Is {second} like {first}?", "images": ["a.png", "b.png"], "answer": "No."}
        assert only(load(write(folder, row)))[0] == ("user", ["Is ", "[b.png]", " like ", "[a.png]", "?"])


def test_markers_in_answers_and_parts_are_listed_as_text(folder: Path) -> None:
    content = [{"type": "text", "text": "What does <image> mean?"}]
    turns = [{"role": "user", "content": content}, {"role": "assistant", "content": "See <video>."}]
    dataset = load(write(folder, {"messages": turns}))
    assert only(dataset) == [("user", ["What does <image> mean?"]), ("assistant", ["See <video>."])]
    assert dict(dataset.text_markers) == {"<image>": 1, "<video>": 1}


# --- 13: the check and the run agree


def test_an_answer_that_is_only_an_image_is_refused(folder: Path) -> None:
    turns = [{"role": "user", "content": "Draw."}, {"role": "assistant", "content": "<image>"}]
    refused(load(write(folder, {"messages": turns, "images": ["a.png"]})), "messages", "empty answer")


def test_a_truncated_image_is_found_by_the_check_as_by_the_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:-400])
    path = write(folder, {"text": "What?", "image": "a.png", "response": "A cup."})
    refused(load(path), "image", "truncated")
    monkeypatch.chdir(folder)
    settings = Settings(folder / "home", folder / "cache")
    for arguments, code in (((), 1), (("--headers",), 0)):
        result = CliRunner().invoke(datasets, ["check", str(path), *arguments], obj=settings, catch_exceptions=False)
        assert result.exit_code == code, result.output
    assert "columns: text → question, image → images, response → answer" in result.stderr


# --- the account


def test_every_column_is_listed_with_what_it_became(folder: Path) -> None:
    rows = [{"id": n, "question": "What?", "image": "a.png", "answer": "A cup.", "split": "x"} for n in range(3)]
    dataset = load(write(folder, *rows))
    assert dict(dataset.unused_columns) == {"id": 3, "split": 3}
    assert dataset.detected_format is not None
    assert dataset.detected_format.describe_columns() == (
        "question → question, image → images, answer → answer; not used: id, split"
    )
