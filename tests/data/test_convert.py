"""From any format to any other and back: the same conversations and the same images, and what is lost is said."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.core.errors import DataError, GardenError, UsageError
from mg_tui.data.convert.converter import ConvertRequest, ConvertResult, convert
from mg_tui.data.convert.images import ImageMode
from mg_tui.data.dataset import load_dataset
from mg_tui.data.field_map import FieldMap
from mg_tui.data.image_resolver import ImageResolver
from mg_tui.data.row_problems import BadRows
from mg_tui.data.sources.base import FORMATS
from mg_tui.data.sources.detection import detect_format
from mg_tui.data.sources.layout_writers import WRITABLE_LAYOUTS
from mg_tui.data.sources.opener import open_source

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

SINGLE_TURN_ROWS: list[dict[str, Any]] = [
    {"text": 'What is "it",\nhere?', "image": "a.png", "response": "A, cat."},
    {"text": "  spaces  ", "image": "b.jpg", "response": "<b>é</b>\r\n"},
    {"text": "No image", "image": None, "response": "None."},
]
CHATS = [
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
    for name, rows in (("single", SINGLE_TURN_ROWS), ("talks", CHATS)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def run_convert(
    folder: Path,
    reference: str,
    out: str,
    *,
    images: ImageMode = "auto",
    fields: FieldMap | None = None,
    **requested: Any,
) -> ConvertResult:
    source = open_source(reference, cwd=folder, cache=folder / "cache")
    resolver = ImageResolver(source.base, None, folder, folder / "cache")
    result = ConvertRequest(folder / out, images=images, **requested)
    return convert(source, detect_format(source, fields), result, cache=folder / "cache", resolver=resolver)


def read_conversations(folder: Path, reference: str) -> list[Any]:
    """What each row says, with the bytes of its images in their places."""
    dataset = load_dataset(reference, cwd=folder, cache=folder / "cache")
    assert not dataset.problems
    return [
        [
            (
                message.role,
                message.supervised,
                [part.text if hasattr(part, "text") else Path(part.image.path).read_bytes() for part in message.parts],
            )
            for message in example.messages
        ]
        for example in dataset.examples
    ]


FORMAT_CYCLE = [*NAMES, "jsonl"]


@pytest.mark.parametrize(("item", "other"), [*pairwise(FORMAT_CYCLE), *pairwise(reversed(FORMAT_CYCLE))])
@pytest.mark.parametrize("dataset", ["single", "talks"])
def test_from_format_to_format_and_back(folder: Path, dataset: str, item: str, other: str) -> None:
    """A chain through all formats in both directions: with these, every pair of formats is bridged."""
    first, second = NAMES[item].format("one"), NAMES[other].format("two")
    run_convert(folder, f"{dataset}.jsonl", first, format=item)
    run_convert(folder, first, second, format=other)
    result = run_convert(folder, second, "back.jsonl")
    assert (result.rows, result.skipped_rows, dict(result.losses)) == (3, 0, {})
    assert read_conversations(folder, "back.jsonl") == read_conversations(folder, f"{dataset}.jsonl")
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_every_format_is_written_but_the_hub() -> None:
    assert set(NAMES) == set(FORMATS) - {"hub"}


@pytest.mark.parametrize("layout", WRITABLE_LAYOUTS)
@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet", "imagefolder", "webdataset"])
def test_layouts_in_formats(folder: Path, layout: str, format: str) -> None:
    if layout == "openai" and format in ("imagefolder", "webdataset"):
        with pytest.raises(UsageError, match="stores images separately"):
            run_convert(folder, "single.jsonl", "x", format=format, layout=layout)
        return
    dataset = "talks" if layout in ("messages", "conversations", "openai") else "single"
    if layout == "captions":
        rows = [row for row in SINGLE_TURN_ROWS if row["image"]]
        (folder / "single.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = run_convert(folder, f"{dataset}.jsonl", NAMES[format].format("x"), format=format, layout=layout)
    back = read_conversations(folder, result.out.name)
    before = read_conversations(folder, f"{dataset}.jsonl")
    if layout == "captions":
        assert dict(result.losses) == {"the question; replaced by the caption prompt": 2}
        for talk in before:
            talk[0][2][-1] = "Describe this image."
    assert back == before


@pytest.mark.parametrize("layout", WRITABLE_LAYOUTS)
def test_no_layout_loses_the_system_turn_or_an_earlier_one(folder: Path, layout: str) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "<image>\nWhat is it?"},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "And <image>\n?"},
        {"role": "assistant", "content": "A dog."},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "Yes."},
    ]
    single = layout in ("fields", "captions")
    rows = [
        {"messages": turns[:3], "images": ["a.png"]},
        *([] if single else [{"messages": turns, "images": ["a.png", "b.jpg"]}]),
        {"messages": turns[1:3], "images": ["b.jpg"]},
    ]
    (folder / "from.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = run_convert(folder, "from.jsonl", "to.jsonl", layout=layout)
    assert (result.rows, result.skipped_rows) == (len(rows), 0)
    expected = read_conversations(folder, "from.jsonl")
    assert [conversation[0][0] for conversation in expected] == ["system"] * (len(rows) - 1) + ["user"]
    if layout == "captions":
        for conversation in expected:
            conversation[-2][2][-1] = "Describe this image."
    assert read_conversations(folder, "to.jsonl") == expected


def test_llama_factory_and_openai_read_as_they_are_written_elsewhere(folder: Path) -> None:
    run_convert(folder, "talks.jsonl", "lf.json", layout="conversations")
    rows = json.loads((folder / "lf.json").read_text())
    assert rows[0]["conversations"][1] == {"from": "human", "value": "Is <image>\n like <image>\n?"}
    assert rows[0]["images"] == ["a.png", "b.jpg"]
    run_convert(folder, "talks.jsonl", "oa.jsonl", layout="openai", images="embed")
    row = json.loads((folder / "oa.jsonl").read_text().splitlines()[0])
    part = row["messages"][1]["content"][1]
    assert part["type"] == "image_url"
    assert part["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert read_conversations(folder, "oa.jsonl") == read_conversations(folder, "talks.jsonl")


def test_what_datasets_and_others_make_of_it(folder: Path) -> None:
    import datasets  # type: ignore[import-untyped]

    run_convert(folder, "single.jsonl", "s", format="saved")
    saved = datasets.load_from_disk(folder / "s")
    assert saved["text"][:] == [row["text"] for row in SINGLE_TURN_ROWS]
    assert saved[0]["image"].size == (20, 14)
    assert saved[2]["image"] is None
    run_convert(folder, "talks.jsonl", "t.parquet")
    table = datasets.Dataset.from_parquet(str(folder / "t.parquet"), cache_dir=str(folder / "hf"))
    assert [image.size for image in table[0]["images"]] == [(20, 14), (30, 20)]


def test_how_images_go_along(folder: Path) -> None:
    (folder / "sub").mkdir()
    linked = run_convert(folder, "single.jsonl", "sub/linked.jsonl")
    assert linked.images is None
    rows = [json.loads(line) for line in linked.out.read_text().splitlines()]
    assert rows[0]["image"] == str(folder / "a.png")  # not below the new dataset's folder
    assert (
        json.loads(run_convert(folder, "single.jsonl", "l.jsonl").out.read_text().splitlines()[0])["image"] == "a.png"
    )
    copied = run_convert(folder, "single.jsonl", "sub/copied.jsonl", images="copy")
    assert copied.images == folder / "sub" / "copied_images"
    rows = [json.loads(line) for line in copied.out.read_text().splitlines()]
    assert [row["image"] for row in rows] == ["copied_images/a.png", "copied_images/b.jpg", None]
    assert (folder / "sub/copied_images/a.png").read_bytes() == (folder / "a.png").read_bytes()
    run_convert(folder, "single.jsonl", "refs.parquet", images="link")
    assert read_conversations(folder, "refs.parquet") == read_conversations(folder, "single.jsonl")
    assert (folder / "refs.parquet").stat().st_size < (folder / "b.jpg").stat().st_size + 4000
    links = run_convert(folder, "single.jsonl", "links", format="imagefolder", images="link")
    assert (links.out / "a.png").is_symlink()
    # what came out of rows has no other place: it is copied although files are referred to
    run_convert(folder, "single.jsonl", "in.parquet")
    out = run_convert(folder, "in.parquet", "out.jsonl")
    assert out.images == folder / "out_images"
    assert sorted(path.name for path in out.images.iterdir()) == ["a.png", "b.jpg"]


def test_images_of_one_name_are_kept_apart(folder: Path) -> None:
    (folder / "x").mkdir()
    Image.new("RGB", (9, 9)).save(folder / "x" / "A.png")
    rows = [{"text": "a", "image": name, "response": "b"} for name in ("a.png", "x/A.png", "a.png")]
    (folder / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = run_convert(folder, "d.jsonl", "c.jsonl", images="copy")
    assert result.images is not None
    assert sorted(path.name for path in result.images.iterdir()) == ["000002-A.png", "a.png"]
    assert read_conversations(folder, "c.jsonl") == read_conversations(folder, "d.jsonl")


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
    result = run_convert(folder, "d.jsonl", "d.parquet", fields=FieldMap(messages="none"))
    assert dict(result.losses) == {'the type of field "tags": written as JSON text': 2}
    first = next(open_source("d.parquet", cwd=folder, cache=None).rows()).values or {}
    assert (first["id"], first["score"], first["tags"], first["messages"]) == (1, 1.0, '["x"]', "m")
    result = run_convert(folder, "d.jsonl", "d2.jsonl", layout="messages")
    assert dict(result.losses) == {'the field "messages": duplicate name': 1}
    last = json.loads((folder / "d2.jsonl").read_text().splitlines()[1])
    assert (last["id"], last["score"], last["ok"]) == (2, 0.5, True)
    result = run_convert(folder, "d2.jsonl", "d3.csv")
    assert result.losses['the type of field "id": CSV stores text only'] == 2


def test_rows_that_cannot_be_said_stop_it_or_are_left_out(folder: Path) -> None:
    with pytest.raises(BadRows) as caught:
        run_convert(folder, "talks.jsonl", "x.jsonl", layout="fields")
    assert "rows 1, 3: has 4 turns; fields supports a single question and answer" in str(caught.value)
    assert not list(folder.glob("*x*"))
    result = run_convert(folder, "talks.jsonl", "x.jsonl", layout="fields", skip_bad_rows=True)
    assert (result.rows, result.skipped_rows) == (1, 2)
    assert result.rejects is not None
    rejected = [json.loads(line) for line in result.rejects.read_text().splitlines()]
    assert [json.loads(row["raw"]) for row in rejected] == [CHATS[0], CHATS[2]]
    (folder / "m.jsonl").write_text(json.dumps({"text": "What is <image>?", "image": None, "response": "a tag"}))
    with pytest.raises(BadRows, match="which would be read as an image placeholder"):
        run_convert(folder, "m.jsonl", "y.jsonl", layout="conversations")
    run_convert(folder, "m.jsonl", "y.jsonl", layout="openai")
    assert read_conversations(folder, "y.jsonl") == read_conversations(folder, "m.jsonl")


def test_missing_images_and_bad_rows_are_named(folder: Path) -> None:
    (folder / "d.jsonl").write_text('{"text": "a", "image": "none.png", "response": "b"}\n{oops\n')
    with pytest.raises(BadRows) as caught:
        run_convert(folder, "d.jsonl", "x.parquet")
    assert 'row 1, field "image": "none.png" does not exist' in str(caught.value)
    assert "row 2: is invalid JSON" in str(caught.value)
    with pytest.raises(DataError, match="no row can be converted"):
        run_convert(folder, "d.jsonl", "x.parquet", skip_bad_rows=True)
    assert not list(folder.glob("*x.parquet*"))


def test_values_nested_without_end_are_no_crash(folder: Path) -> None:
    rows = [
        json.dumps(SINGLE_TURN_ROWS[0]),
        json.dumps(SINGLE_TURN_ROWS[0])[:-1] + ', "x": ' + "[" * 800 + "]" * 800 + "}",
    ]
    (folder / "d.jsonl").write_text("\n".join(rows))
    for name in ("x.jsonl", "x.parquet", "x.csv", "x.tar"):
        result = run_convert(folder, "d.jsonl", name, skip_bad_rows=True)
        assert (result.rows, result.skipped_rows) == (1, 1)


def test_nothing_is_replaced_unasked(folder: Path) -> None:
    out = folder / "out.jsonl"
    out.write_text("mine")
    with pytest.raises(UsageError, match="already exists"):
        run_convert(folder, "single.jsonl", "out.jsonl")
    assert out.read_text() == "mine"
    run_convert(folder, "single.jsonl", "out.jsonl", force=True)
    assert out.read_text() != "mine"
    (folder / "full").mkdir()
    (folder / "full/file").touch()
    (folder / "c_images").mkdir()
    in_the_way: dict[str, dict[str, Any]] = {"full": {"format": "saved"}, "c.jsonl": {"images": "copy"}}
    for name, options in in_the_way.items():
        with pytest.raises(UsageError, match="existing folder"):
            run_convert(folder, "single.jsonl", name, force=True, **options)
    impossible: list[tuple[str, dict[str, Any]]] = [
        ("x", {}), ("x.jsonl", {"format": "hub"}), ("x.jsonl", {"layout": "none"})
    ]  # fmt: skip
    for name, options in impossible:
        with pytest.raises(UsageError):
            run_convert(folder, "single.jsonl", name, **options)


def test_a_failure_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mg_tui.data.convert.writers.JsonLinesWriter.write", full)
    before = sorted(folder.iterdir())
    with pytest.raises(GardenError, match="cannot write the dataset") as caught:
        run_convert(folder, "single.jsonl", "x.jsonl", images="copy")
    assert "No space left" in str(caught.value)
    assert sorted(folder.iterdir()) == before
