"""Rows become examples or problems, and none is lost."""

import json
from pathlib import Path

import pytest
from PIL import Image

from mg_tui.core.errors import DataError
from mg_tui.core.example import ImagePart, TextPart
from mg_tui.data.dataset import FieldMap, load_dataset, require_examples, require_no_bad_rows, write_rejects
from mg_tui.data.row_problems import BadRows


def row(**changes: object) -> dict[str, object]:
    return {"text": "What is it?", "image": "a.jpg", "response": "A cat.", **changes}


def test_a_row_becomes_a_conversation(rows, image_file: Path, tmp_path: Path) -> None:
    dataset = load_dataset(rows(row()), system_prompt="Be brief.")
    (example,) = dataset.examples
    assert [message.role for message in example.messages] == ["system", "user", "assistant"]
    image, text = example.messages[1].parts
    assert isinstance(image, ImagePart)
    assert image.image.path == str(image_file)
    assert image.image.original == "a.jpg"
    assert text == TextPart("What is it?")
    assert (example.row, example.response, example.messages[0].text) == (1, "A cat.", "Be brief.")
    assert dataset.image_locations == {"dataset folder": 1}
    assert dataset.format_image_locations() == "1 from the dataset's folder"
    assert dataset.image_infos[str(image_file)].width == 64
    require_no_bad_rows(dataset)
    require_examples(dataset)


def test_several_images_and_none(rows, image_file: Path) -> None:
    dataset = load_dataset(rows(row(image=["a.jpg", str(image_file)]), row(image=None), row(image=[])))
    assert [len(example.images) for example in dataset.examples] == [2, 0, 0]
    assert not dataset.problems
    assert dataset.image_locations == {"dataset folder": 1, "absolute path": 1}


def test_other_field_names(rows, image_file: Path) -> None:
    path = rows({"question": "q", "img_path": "a.jpg", "answer": "r"})
    dataset = load_dataset(path, FieldMap("question", "img_path", "answer"))
    assert dataset.examples[0].response == "r"
    problems = load_dataset(path, layout="fields").problems
    assert [(p.field, p.hint) for p in problems] == [
        ("text", "set the field with --text-field, e.g. --text-field question"),
        ("image", "set the field with --image-field, e.g. --image-field img_path"),
        ("response", "set the field with --response-field, e.g. --response-field answer"),
    ]
    assert problems[0].what == "is missing; the row has question, img_path, answer"
    with pytest.raises(DataError, match="must be different fields"):
        load_dataset(path, FieldMap("question", "img_path", "question"))


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"text": 3}, "text", "is a number (3), expected text"),
        ({"text": None}, "text", "is null"),
        ({"text": True}, "text", "is true"),
        ({"text": ["x"]}, "text", "is a list"),
        ({"text": ""}, "text", "is empty"),
        ({"response": " \n\t"}, "response", "is empty"),
        ({"response": {"a": 1}}, "response", "is an object"),
        ({"response": float("nan")}, "response", "is a number (nan)"),
        ({"response": "x\ud83d"}, "response", "a lone surrogate"),
        ({"image": 7}, "image", "is a number (7), expected a path or URL"),
        ({"image": ""}, "image", "is empty"),
        ({"image": ["a.jpg", None]}, "image", "item 2 is null"),
        ({"image": [["a.jpg"]]}, "image", "item 1 is a list"),
        ({"image": {"x": "a.jpg"}}, "image", "is an object without bytes, path or url"),
        ({"image": "a\0.jpg"}, "image", "not a possible file name"),
        ({"image": "data:image/png;base64," + "A" * 100_000}, "image", "is not a supported image"),
        ({"image": "ftp://example.com/a.jpg"}, "image", "has the URL scheme ftp; only http and https"),
        ({"image": "x\udc80.jpg"}, "image", "a lone surrogate"),
        ({"image": "http://[::1/a.jpg"}, "image", "is an invalid URL"),
    ],
)
def test_bad_fields(
    rows, image_file: Path, tmp_path: Path, changes: dict[str, object], field: str, expected: str
) -> None:
    path = rows(row(), row(**changes), row())
    dataset = load_dataset(path, cache=tmp_path / "cache")
    (problem,) = dataset.problems
    assert (problem.row, problem.field) == (2, field)
    assert expected in problem.what
    assert len(problem.what) < 1000
    assert problem.raw == path.read_text().split("\n")[1]
    assert [example.row for example in dataset.examples] == [1, 3]
    with pytest.raises(DataError) as caught:
        require_no_bad_rows(dataset)
    assert f'row 2, field "{field}": ' in str(caught.value)
    str(caught.value).encode("utf-8")


def test_bad_images_name_every_place_that_was_tried(rows, tmp_path: Path, bomb: Path) -> None:
    root, cwd = tmp_path / "root", tmp_path / "cwd"
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    root.mkdir()
    cwd.mkdir()
    (root / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    names = ["none.jpg", "folder.png", "empty.png", "text.png", "bomb.png", "cut.jpg"]
    path = rows(*(row(image=name) for name in names))
    dataset = load_dataset(path, image_root=root, cwd=cwd)
    assert not dataset.examples
    what = {problem.raw.split('"image": "')[1].split('"')[0]: problem.what for problem in dataset.problems}
    tried = f"{tmp_path}/none.jpg, {root}/none.jpg, {cwd}/none.jpg"
    assert what["none.jpg"] == f'"none.jpg" does not exist; tried {tried}'
    assert f"{tmp_path}/folder.png (a folder)" in what["folder.png"]
    assert what["empty.png"] == '"empty.png" is empty (0 bytes)'
    assert "is not a supported image" in what["text.png"]
    assert "claims 3,600,000,000 pixels" in what["bomb.png"]
    assert "truncated" in what["cut.jpg"]
    with pytest.raises(DataError, match="none of the 6 rows"):
        require_examples(dataset)


def test_how_deep_images_are_looked_at(rows, image_file: Path, tmp_path: Path) -> None:
    image_file.write_bytes(image_file.read_bytes()[:900])
    (tmp_path / "text.png").write_text("hello")
    path = rows(row(), row(image="text.png"), row(image="none.png"))
    bad = {depth: load_dataset(path, check_images=depth).bad_rows for depth in ("decode", "header", "none")}
    assert bad == {"decode": (1, 2, 3), "header": (2, 3), "none": (3,)}


def test_an_image_used_often_is_looked_at_once(rows, image_file: Path) -> None:
    calls: list[tuple[int, int]] = []
    dataset = load_dataset(
        rows(*[row()] * 50, row(image="./a.jpg")), progress=lambda done, total: calls.append((done, total))
    )
    assert calls[-1] == (2, 2)
    assert dataset.image_locations == {"dataset folder": 51}
    assert len({image.path for example in dataset.examples for image in example.images}) == 1


def test_animations_are_noted(rows, tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.gif", save_all=True, append_images=[Image.new("RGB", (9, 9), "red")])
    dataset = load_dataset(rows(row(image="a.gif")))
    (note,) = dataset.notes
    assert "only the first is used" in note.what
    assert len(dataset.examples) == 1


def test_all_bad_rows_are_listed_and_the_rest_counted(rows, image_file: Path) -> None:
    dataset = load_dataset(rows(row(), *[row(image=f"{n}.jpg") for n in range(2, 32)]))
    with pytest.raises(BadRows) as caught:
        require_no_bad_rows(dataset)
    message = str(caught.value)
    assert message.startswith("30 rows of 31 are invalid:")
    assert 'row 21, field "image": "21.jpg" does not exist' in message
    assert "row 22," not in message
    assert "and 10 more, in rows 22 to 31" in message
    assert "--on-bad-row skip" in message
    assert caught.value.exit_code == 2
    assert len(caught.value.as_dict()["problems"]) == 30  # type: ignore[arg-type]


def test_what_a_row_says_cannot_escape_into_a_terminal(rows, image_file: Path) -> None:
    evil = "\x1b]0;owned\x07\u202e\n\ud800"
    dataset = load_dataset(rows(row(image=evil), {evil: 1}, row(text="", **{evil: 1})))
    with pytest.raises(BadRows) as caught:
        require_no_bad_rows(dataset)
    message = str(caught.value)
    message.encode("utf-8")
    assert not {"\x1b", "\x07", "\u202e"} & set(message)
    assert all(not {"\x1b", "\n"} & set(problem.what) for problem in dataset.problems)


def test_rejects_keep_the_rows(rows, tmp_path: Path) -> None:
    lines = [b'{"text": "", "image": null, "response": ""}', b"\xff", b"{"]
    dataset = load_dataset(rows(*lines))
    target = tmp_path / "run" / "rejects.jsonl"
    assert write_rejects(target, dataset.problems) == 3
    records = [json.loads(line) for line in target.read_text().splitlines()]
    assert [record["row"] for record in records] == [1, 2, 3]
    assert [record["raw"].encode("utf-8", "surrogateescape") for record in records] == lines
    assert [problem["field"] for problem in records[0]["problems"]] == ["text", "response"]
    assert list(target.parent.iterdir()) == [target]
    assert write_rejects(target, ()) == 0
    assert target.read_text() == ""


def test_the_dataset_may_be_relative_to_the_working_folder(rows, image_file: Path, tmp_path: Path) -> None:
    rows(row())
    dataset = load_dataset("data.jsonl", cwd=tmp_path)
    assert dataset.path == tmp_path / "data.jsonl"
    assert Path(dataset.examples[0].images[0].path).is_absolute()


def test_thousands_of_images_are_checked_quickly(rows, tmp_path: Path) -> None:
    import time

    for index in range(300):
        Image.new("RGB", (256, 256), (index % 256, 9, 9)).save(tmp_path / f"{index}.jpg")
    path = rows(*(row(image=f"{index}.jpg") for index in range(300)))
    start = time.perf_counter()
    assert len(load_dataset(path).examples) == 300
    assert time.perf_counter() - start < 5  # a tenth of this on an idle machine
