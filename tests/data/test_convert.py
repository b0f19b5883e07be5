"""From any format to any other and back: the same conversations and the same pictures, and what is lost is said."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.core.errors import DataError, GardenError, UsageError
from mg_tui.data.convert import Asked, Converted, convert
from mg_tui.data.convert.pictures import Mode
from mg_tui.data.dataset import load_dataset
from mg_tui.data.mapping import FieldMap
from mg_tui.data.problems import BadRows
from mg_tui.data.resolve import ImageResolver
from mg_tui.data.sources.base import FORMATS, open_source
from mg_tui.data.sources.recognise import recognise
from mg_tui.data.sources.saying import WRITTEN

NAMES = {
    "jsonl": "{}.jsonl",
    "json": "{}.json",
    "csv": "{}.csv",
    "parquet": "{}.parquet",
    "arrow": "{}.arrow",
    "saved": "{}-saved",
    "imagefolder": "{}-folder",
    "webdataset": "{}.tar",
}

SINGLE = [
    {"text": 'What is "it",\nhere?', "image": "a.png", "response": "A, cat."},
    {"text": "  spaces  ", "image": "b.jpg", "response": "<b>é</b>\r\n"},
    {"text": "No picture", "image": None, "response": "None."},
]
TALKS = [
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Is <image>\n like <image>\n?"},
            {"role": "assistant", "content": "No."},
            {"role": "user", "content": "\nWhy, 'then'?"},
            {"role": "assistant", "content": "Look."},
        ],
        "images": ["a.png", "b.jpg"],
    },
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}], "images": []},
    {
        "messages": [
            {"role": "user", "content": "<image>\nA"},
            {"role": "assistant", "content": "B", "weight": 0},
            {"role": "user", "content": "C"},
            {"role": "assistant", "content": "D"},
        ],
        "images": ["a.png"],
    },
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (20, 14), "red").save(tmp_path / "a.png")
    Image.effect_noise((30, 20), 90).convert("RGB").save(tmp_path / "b.jpg")
    for name, rows in (("single", SINGLE), ("talks", TALKS)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def converted(
    folder: Path, given: str, out: str, *, images: Mode = "auto", fields: FieldMap | None = None, **asked: Any
) -> Converted:
    source = open_source(given, cwd=folder, cache=folder / "cache")
    resolver = ImageResolver(source.base, None, folder, folder / "cache")
    made = Asked(folder / out, images=images, **asked)
    return convert(source, recognise(source, fields), made, cache=folder / "cache", resolver=resolver)


def said(folder: Path, given: str) -> list[Any]:
    """What each row says, with the bytes of its pictures in their places."""
    dataset = load_dataset(given, cwd=folder, cache=folder / "cache")
    assert not dataset.problems
    return [
        [
            (
                message.role,
                message.learn,
                [part.text if hasattr(part, "text") else Path(part.image.path).read_bytes() for part in message.parts],
            )
            for message in example.messages
        ]
        for example in dataset.examples
    ]


ROUND = [*NAMES, "jsonl"]


@pytest.mark.parametrize(("one", "other"), [*pairwise(ROUND), *pairwise(reversed(ROUND))])
@pytest.mark.parametrize("dataset", ["single", "talks"])
def test_from_format_to_format_and_back(folder: Path, dataset: str, one: str, other: str) -> None:
    """A chain through all formats in both directions: with these, every pair of formats is bridged."""
    first, second = NAMES[one].format("one"), NAMES[other].format("two")
    converted(folder, f"{dataset}.jsonl", first, format=one)
    converted(folder, first, second, format=other)
    made = converted(folder, second, "back.jsonl")
    assert (made.rows, made.left_out, dict(made.lost)) == (3, 0, {})
    assert said(folder, "back.jsonl") == said(folder, f"{dataset}.jsonl")
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_every_format_is_written_but_the_hub() -> None:
    assert set(NAMES) == set(FORMATS) - {"hub"}


@pytest.mark.parametrize("layout", WRITTEN)
@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet", "imagefolder", "webdataset"])
def test_layouts_in_formats(folder: Path, layout: str, format: str) -> None:
    if layout == "openai" and format in ("imagefolder", "webdataset"):
        with pytest.raises(UsageError, match="keeps its pictures beside the text"):
            converted(folder, "single.jsonl", "x", format=format, layout=layout)
        return
    dataset = "talks" if layout in ("messages", "conversations", "openai") else "single"
    if layout == "captions":
        rows = [row for row in SINGLE if row["image"]]
        (folder / "single.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = converted(folder, f"{dataset}.jsonl", NAMES[format].format("x"), format=format, layout=layout)
    back = said(folder, made.out.name)
    before = said(folder, f"{dataset}.jsonl")
    if layout == "captions":
        assert dict(made.lost) == {"the question: the caption prompt is asked instead": 2}
        for talk in before:
            talk[0][2][-1] = "Describe this image."
    assert back == before


def test_llama_factory_and_openai_read_as_they_are_written_elsewhere(folder: Path) -> None:
    converted(folder, "talks.jsonl", "lf.json", layout="conversations")
    rows = json.loads((folder / "lf.json").read_text())
    assert rows[0]["conversations"][1] == {"from": "human", "value": "Is <image>\n like <image>\n?"}
    assert rows[0]["images"] == ["a.png", "b.jpg"]
    converted(folder, "talks.jsonl", "oa.jsonl", layout="openai", images="embed")
    row = json.loads((folder / "oa.jsonl").read_text().splitlines()[0])
    part = row["messages"][1]["content"][1]
    assert part["type"] == "image_url"
    assert part["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert said(folder, "oa.jsonl") == said(folder, "talks.jsonl")


def test_what_datasets_and_others_make_of_it(folder: Path) -> None:
    import datasets

    converted(folder, "single.jsonl", "s", format="saved")
    saved = datasets.load_from_disk(folder / "s")
    assert saved["text"][:] == [row["text"] for row in SINGLE]
    assert saved[0]["image"].size == (20, 14)
    assert saved[2]["image"] is None
    converted(folder, "talks.jsonl", "t.parquet")
    table = datasets.Dataset.from_parquet(str(folder / "t.parquet"), cache_dir=str(folder / "hf"))
    assert [picture.size for picture in table[0]["images"]] == [(20, 14), (30, 20)]


def test_how_pictures_go_along(folder: Path) -> None:
    (folder / "sub").mkdir()
    linked = converted(folder, "single.jsonl", "sub/linked.jsonl")
    assert linked.images is None
    rows = [json.loads(line) for line in linked.out.read_text().splitlines()]
    assert rows[0]["image"] == str(folder / "a.png")  # not below the new dataset's folder
    assert json.loads(converted(folder, "single.jsonl", "l.jsonl").out.read_text().splitlines()[0])["image"] == "a.png"
    copied = converted(folder, "single.jsonl", "sub/copied.jsonl", images="copy")
    assert copied.images == folder / "sub" / "copied_images"
    rows = [json.loads(line) for line in copied.out.read_text().splitlines()]
    assert [row["image"] for row in rows] == ["copied_images/a.png", "copied_images/b.jpg", None]
    assert (folder / "sub/copied_images/a.png").read_bytes() == (folder / "a.png").read_bytes()
    converted(folder, "single.jsonl", "refs.parquet", images="link")
    assert said(folder, "refs.parquet") == said(folder, "single.jsonl")
    assert (folder / "refs.parquet").stat().st_size < (folder / "b.jpg").stat().st_size + 4000
    links = converted(folder, "single.jsonl", "links", format="imagefolder", images="link")
    assert (links.out / "a.png").is_symlink()
    # what came out of rows has no other place: it is copied although files are referred to
    converted(folder, "single.jsonl", "in.parquet")
    out = converted(folder, "in.parquet", "out.jsonl")
    assert out.images == folder / "out_images"
    assert sorted(path.name for path in out.images.iterdir()) == ["a.png", "b.jpg"]


def test_pictures_of_one_name_are_kept_apart(folder: Path) -> None:
    (folder / "x").mkdir()
    Image.new("RGB", (9, 9)).save(folder / "x" / "A.png")
    rows = [{"text": "a", "image": name, "response": "b"} for name in ("a.png", "x/A.png", "a.png")]
    (folder / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = converted(folder, "d.jsonl", "c.jsonl", images="copy")
    assert made.images is not None
    assert sorted(path.name for path in made.images.iterdir()) == ["000002-A.png", "a.png"]
    assert said(folder, "c.jsonl") == said(folder, "d.jsonl")


def test_fields_go_along_and_what_does_not_is_said(folder: Path) -> None:
    rows = [
        {
            "text": "a",
            "image": "a.png",
            "response": "b",
            "id": 1,
            "score": 1,
            "tags": ["x"],
            "messages": "m",
            "n": None,
        },
        {"text": "a", "image": "a.png", "response": "b", "id": 2, "score": 0.5, "tags": None, "ok": True},
    ]
    (folder / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = converted(folder, "d.jsonl", "d.parquet", fields=FieldMap(messages="none"))
    assert dict(made.lost) == {'the kind of the field "tags": it is written as JSON text': 2}
    first = next(open_source("d.parquet", cwd=folder, cache=None).rows()).values or {}
    assert (first["id"], first["score"], first["tags"], first["messages"]) == (1, 1.0, '["x"]', "m")
    made = converted(folder, "d.jsonl", "d2.jsonl", layout="messages")
    assert dict(made.lost) == {'the field "messages": its name is taken': 1}
    last = json.loads((folder / "d2.jsonl").read_text().splitlines()[1])
    assert (last["id"], last["score"], last["ok"]) == (2, 0.5, True)
    made = converted(folder, "d2.jsonl", "d3.csv")
    assert made.lost['the kind of the field "id": a table holds texts'] == 2


def test_rows_that_cannot_be_said_stop_it_or_are_left_out(folder: Path) -> None:
    with pytest.raises(BadRows) as caught:
        converted(folder, "talks.jsonl", "x.jsonl", layout="fields")
    assert "row 1: has 4 turns, and fields holds a question and its answer" in str(caught.value)
    assert not list(folder.glob("*x*"))
    made = converted(folder, "talks.jsonl", "x.jsonl", layout="fields", skip=True)
    assert (made.rows, made.left_out) == (1, 2)
    assert made.rejects is not None
    kept = [json.loads(line) for line in made.rejects.read_text().splitlines()]
    assert [json.loads(row["raw"]) for row in kept] == [TALKS[0], TALKS[2]]
    (folder / "m.jsonl").write_text(json.dumps({"text": "What is <image>?", "image": None, "response": "a tag"}))
    with pytest.raises(BadRows, match="which would be read as the place of a picture"):
        converted(folder, "m.jsonl", "y.jsonl", layout="conversations")
    converted(folder, "m.jsonl", "y.jsonl", layout="openai")
    assert said(folder, "y.jsonl") == said(folder, "m.jsonl")


def test_missing_pictures_and_bad_rows_are_named(folder: Path) -> None:
    (folder / "d.jsonl").write_text('{"text": "a", "image": "none.png", "response": "b"}\n{oops\n')
    with pytest.raises(BadRows) as caught:
        converted(folder, "d.jsonl", "x.parquet")
    assert 'row 1, field "image": "none.png" was not found' in str(caught.value)
    assert "row 2: is not JSON" in str(caught.value)
    with pytest.raises(DataError, match="no row can be converted"):
        converted(folder, "d.jsonl", "x.parquet", skip=True)
    assert not list(folder.glob("*x.parquet*"))


def test_values_nested_without_end_are_no_crash(folder: Path) -> None:
    rows = [json.dumps(SINGLE[0]), json.dumps(SINGLE[0])[:-1] + ', "x": ' + "[" * 800 + "]" * 800 + "}"]
    (folder / "d.jsonl").write_text("\n".join(rows))
    for name in ("x.jsonl", "x.parquet", "x.csv", "x.tar"):
        made = converted(folder, "d.jsonl", name, skip=True)
        assert (made.rows, made.left_out) == (1, 1)


def test_nothing_is_replaced_unasked(folder: Path) -> None:
    out = folder / "out.jsonl"
    out.write_text("mine")
    with pytest.raises(UsageError, match="already there"):
        converted(folder, "single.jsonl", "out.jsonl")
    assert out.read_text() == "mine"
    converted(folder, "single.jsonl", "out.jsonl", force=True)
    assert out.read_text() != "mine"
    (folder / "full").mkdir()
    (folder / "full/file").touch()
    (folder / "c_images").mkdir()
    for name, more in (("full", {"format": "saved"}), ("c.jsonl", {"images": "copy"})):
        with pytest.raises(UsageError, match="a folder is in the way"):
            converted(folder, "single.jsonl", name, force=True, **more)
    for name, more in (("x", {}), ("x.jsonl", {"format": "hub"}), ("x.jsonl", {"layout": "none"})):
        with pytest.raises(UsageError):
            converted(folder, "single.jsonl", name, **more)


def test_a_failure_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mg_tui.data.convert.files.Text.write", full)
    before = sorted(folder.iterdir())
    with pytest.raises(GardenError, match="cannot be written") as caught:
        converted(folder, "single.jsonl", "x.jsonl", images="copy")
    assert "No space left" in str(caught.value)
    assert sorted(folder.iterdir()) == before
