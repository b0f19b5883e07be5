"""Every format gives the same rows; what is damaged, hostile or none of them is said."""

import csv
import gzip
import io
import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from PIL import Image

from mg_tui.core.errors import DataError, EnvironmentProblem, GardenError
from mg_tui.core.spec import DatasetFormat, DatasetLayout
from mg_tui.data.dataset import load_dataset
from mg_tui.data.policy import ReadPolicy
from mg_tui.data.sources.base import FORMATS, Source
from mg_tui.data.sources.detection import detect_format
from mg_tui.data.sources.layouts import LAYOUTS
from mg_tui.data.sources.opener import open_source

ROWS: list[dict[str, Any]] = [
    {"text": f'What is "it", {n}?\nSay.', "image": f"{n}.png", "response": f"Number {n}, é."} for n in range(1, 71)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for n in range(1, 71):
        Image.new("RGB", (8, 8), (n, 0, 0)).save(tmp_path / f"{n}.png")
    return tmp_path


def jsonl_bytes() -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


def csv_bytes() -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["text", "image", "response"])
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode()


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(data)
    return sink.getvalue().to_pybytes()


def with_bytes(folder: Path) -> pa.Table:
    return pa.Table.from_pylist(
        [{**row, "image": {"bytes": (folder / row["image"]).read_bytes(), "path": row["image"]}} for row in ROWS]
    )


def arrow(folder: Path, *, stream: bool) -> bytes:
    sink = pa.BufferOutputStream()
    result = with_bytes(folder)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, result.schema) as writer:
        writer.write_table(result, max_chunksize=9)
    return sink.getvalue().to_pybytes()


def shard(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for n, row in enumerate(ROWS, 1):
            for name, data in (
                (f"x/{n:04d}.png", (folder / row["image"]).read_bytes()),
                (f"x/{n:04d}.json", json.dumps({"text": row["text"], "response": row["response"]}).encode()),
            ):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def parquet(folder: Path) -> bytes:
    sink = io.BytesIO()
    pq.write_table(with_bytes(folder), sink, row_group_size=20)
    return sink.getvalue()


MAKERS: dict[str, tuple[str, str, Callable[[Path], bytes]]] = {
    "jsonl": ("a.jsonl", "jsonl", lambda _f: jsonl_bytes()),
    "jsonl-gz": ("a.jsonl.gz", "jsonl", lambda _f: gzip.compress(jsonl_bytes())),
    "jsonl-zst": ("a.jsonl.zst", "jsonl", lambda _f: zstd(jsonl_bytes())),
    "json": ("a.json", "json", lambda _f: json.dumps(ROWS, indent=1).encode()),
    "json-gz": ("a.json.gz", "json", lambda _f: gzip.compress(json.dumps(ROWS).encode())),
    "csv": ("a.csv", "csv", lambda _f: csv_bytes()),
    "csv-zst": ("a.csv.zst", "csv", lambda _f: zstd(csv_bytes())),
    "parquet": ("a.parquet", "parquet", parquet),
    "arrow-file": ("a.arrow", "arrow", lambda f: arrow(f, stream=False)),
    "arrow-stream": ("b.arrow", "arrow", lambda f: arrow(f, stream=True)),
    "webdataset": ("a.tar", "webdataset", shard),
    "webdataset-gz": ("a.tar.gz", "webdataset", lambda f: gzip.compress(shard(f))),
}


def open_dataset(reference: str | Path, folder: Path, **more: Any) -> Source:
    return open_source(str(reference), cwd=folder, cache=folder / "cache", **more)


@pytest.mark.parametrize("kind", MAKERS)
def test_every_format_gives_the_same_rows(kind: str, folder: Path) -> None:
    name, format, make = MAKERS[kind]
    (folder / name).write_bytes(make(folder))
    source = open_dataset(name, folder)
    result = detect_format(source)
    assert (source.format, result.format, result.layout, result.certainty) == (format, format, "fields", "sure")
    assert result.why
    rows = list(source.rows())
    assert [row.number for row in rows] == list(range(1, 71))
    assert [(row.values or {})["text"] for row in rows] == [row["text"] for row in ROWS]
    for start in (2, 9, 10, 21, 64, 70):
        assert [row.number for row in source.rows(start)] == list(range(start, 71))
        assert next(source.rows(start)).values == rows[start - 1].values
    assert list(source.rows(71)) == []
    assert source.count() in (None, 70)
    assert "Number 3" in source.raw(rows[2])

    dataset = load_dataset(name, cwd=folder, cache=folder / "cache")
    assert not dataset.problems
    assert [example.response for example in dataset.examples] == [row["response"] for row in ROWS]
    pixels = [Path(example.images[0].path).read_bytes() for example in dataset.examples]
    assert pixels == [(folder / row["image"]).read_bytes() for row in ROWS]


def test_the_options_name_every_format_and_layout() -> None:
    assert get_args(DatasetFormat) == tuple(FORMATS)
    assert get_args(DatasetLayout) == tuple(LAYOUTS)


def test_a_folder_that_datasets_saved(folder: Path) -> None:
    import datasets  # type: ignore[import-untyped]

    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
        }
    )
    rows = {"text": ["a", "b", "c"], "image": [str(folder / f"{n}.png") for n in (1, 2, 3)], "label": [0, 1, 0]}
    created = datasets.Dataset.from_dict(rows, features=features)
    # datasets keeps a memory of its own arrow files open; what is saved is what is read here
    created.save_to_disk(folder / "one")
    datasets.DatasetDict({"train": created, "test": created.select([1])}).save_to_disk(folder / "two")
    item = open_dataset("one", folder)
    assert item.format == "saved"
    assert item.count() == 3
    values = [row.values or {} for row in item.rows()]
    assert [(row["text"], row["label"]) for row in values] == [("a", "cat"), ("b", "dog"), ("c", "cat")]
    two = open_dataset("two", folder)
    assert two.count() == 3
    assert "split train of train, test" in detect_format(two).why
    assert open_dataset("two", folder, split="test").count() == 1
    with pytest.raises(DataError, match="unknown split 'other'") as caught:
        open_dataset("two", folder, split="other")
    assert caught.value.hint == "available splits: train, test"


def test_folders_of_images(tmp_path: Path) -> None:
    def image_file(name: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)

    for name in ("classes/cat/1.png", "classes/dog/2.png", "words/a.png", "words/b.png", "hf/train/x.png"):
        image_file(name)
    (tmp_path / "words/a.txt").write_text("A cat.\n")
    (tmp_path / "words/b.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "hf/train/metadata.csv").write_text("file_name,text,response\nx.png,What?,A cat.\n")
    (tmp_path / "classes" / "loop").symlink_to(tmp_path / "classes")
    (tmp_path / "classes/notes.md").write_text("no image")

    def answers(name: str) -> list[tuple[str, str]]:
        dataset = load_dataset(name, cwd=tmp_path)
        return [(example.messages[0].text, example.response) for example in dataset.examples]

    assert answers("classes") == [("Describe this image.", "cat"), ("Describe this image.", "dog")]
    assert answers("words") == [("Describe this image.", "A cat.")]
    assert answers("hf") == [("What?", "A cat.")]
    assert detect_format(open_dataset("hf", tmp_path)).layout == "fields"
    assert detect_format(open_dataset("classes", tmp_path)).layout == "captions"
    (problem,) = load_dataset("words", cwd=tmp_path).problems
    assert str(problem) == "row 2: b.txt is not UTF-8 text"


def test_shards_by_pattern_and_folder(folder: Path) -> None:
    shards = folder / "shards"
    shards.mkdir()
    for n in range(3):
        (shards / f"s-{n:02d}.tar").write_bytes(shard(folder))
    for reference in ("shards", "shards/s-*.tar", "shards/s-{00..02}.tar"):
        rows = list(open_dataset(reference, folder).rows())
        assert [row.number for row in rows] == list(range(1, 211))
    with pytest.raises(DataError, match="does not exist"):
        open_dataset("shards/s-{00..03}.tar", folder)


def test_parquet_folders_have_splits_by_name(folder: Path) -> None:
    data = folder / "repo" / "data"
    data.mkdir(parents=True)
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        (data / f"{name}.parquet").write_bytes(parquet(folder))
    assert open_dataset("repo", folder).count() == 140
    assert open_dataset("repo", folder, split="test").count() == 70


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def test_members_of_shards_that_are_no_files_are_refused(tmp_path: Path) -> None:
    link, device, up = tarfile.TarInfo("1.png"), tarfile.TarInfo("2.png"), tarfile.TarInfo("../../up.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    device.type = tarfile.CHRTYPE
    text = json.dumps({"text": "a", "response": "b"}).encode()
    data = tar_of((link, b""), (device, b""), (up, b"x"), (tarfile.TarInfo("../../up.json"), text))
    (tmp_path / "a.tar").write_bytes(data)
    rows = list(open_dataset("a.tar", tmp_path).rows())
    assert [str(row.problem) for row in rows[:2]] == [
        'row 1: the member "1.png" is a link, which is ignored',
        'row 2: the member "2.png" is no file, which is ignored',
    ]
    assert rows[2].values is not None  # a name that leads upwards is a name: nothing is unpacked by it
    assert rows[2].values["image"] == {"bytes": b"x", "path": "../../up.png"}
    load_dataset("a.tar", cwd=tmp_path, cache=tmp_path / "cache")
    assert not (tmp_path.parent.parent / "up.png").exists()


def test_a_shard_that_is_cut_off_says_so_and_keeps_what_came_before(folder: Path) -> None:
    (folder / "a.tar").write_bytes(shard(folder)[:5000])
    rows = list(open_dataset("a.tar", folder).rows())
    assert rows[0].values is not None
    assert "damaged or truncated: unexpected end" in str(rows[-1].problem)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"text,image,response\n", "has only a header"),
        (b"\n\n", "first line is not a header"),
        (b"text,text\na,b\n", 'duplicate column "text"'),
    ],
)
def test_tables_that_are_none(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=expected):
        list(open_dataset("a.csv", tmp_path).rows())


def test_bad_records_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(
        b'text\timage\tresponse\na\tb\nc\t\td\n\xff\tb\tc\n"x""y\nz"\t1.png\tq\n"open"x\tb\tc\nlast\tb\tc\n'
    )
    rows = {row.number: row for row in open_dataset("a.tsv", tmp_path).rows()}
    assert "row 1: has 2 cells but the header has 3" in str(rows[1].problem)
    assert rows[2].values == {"text": "c", "image": None, "response": "d"}
    assert "row 3: is not UTF-8" in str(rows[3].problem)
    assert rows[4].values == {"text": 'x"y\nz', "image": "1.png", "response": "q"}
    assert "row 5: is invalid CSV near line" in str(rows[5].problem)
    assert rows[6].values == {"text": "last", "image": "b", "response": "c"}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.pkl", pickle.dumps({"a": 1}), "is a pickle"),
        ("a.jsonl", pickle.dumps({"a": 1}), "is a pickle"),
        ("a.parquet", b"PAR1 and no more", "cannot read the dataset"),
        ("a.arrow", b"ARROW1\0\0 and no more", "cannot read the dataset"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 900)[:-20], "cannot read the dataset"),
        ("a.jsonl.zst", b"\x28\xb5\x2f\xfd and no more", "cannot read the dataset"),
        ("a.zip", b"PK\x03\x04..", "zip archive cannot be read"),
        ("a.xz", b"\xfd7zXZ\0", "cannot read the dataset"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c", "is a 7z archive"),
        ("a.db", b"SQLite format 3\0", "is an SQLite database"),
    ],
)
def test_files_that_are_no_datasets(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(GardenError, match=expected):
        list(open_dataset(name, tmp_path).rows())


@pytest.mark.parametrize("kind", ["parquet", "arrow-file", "arrow-stream", "jsonl-gz", "webdataset", "csv-zst"])
def test_flipped_bytes_are_an_error_or_rows_and_never_a_crash(kind: str, folder: Path) -> None:
    import random

    name, _format, make = MAKERS[kind]
    whole = make(folder)
    rng = random.Random(7)
    for _try in range(40):
        data = bytearray(whole)
        for _change in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        (folder / name).write_bytes(bytes(data) or b"x")
        try:
            rows = list(open_dataset(name, folder).rows())
        except GardenError as error:
            assert str(folder) in str(error)
        else:
            assert all(row.values is not None or row.problem is not None for row in rows)


def test_formats_can_be_said(folder: Path) -> None:
    (folder / "a.data").write_bytes(csv_bytes())
    assert detect_format(open_dataset("a.data", folder, format="csv")).why.startswith("format set explicitly")
    assert next(open_dataset("a.data", folder, format="csv").rows()).values == ROWS[0]
    with pytest.raises(DataError, match="unknown format 'xlsx'"):
        open_dataset("a.data", folder, format="xlsx")
    with pytest.raises(DataError, match="is not a file"):
        open_dataset("a.data", folder, format="imagefolder")
    with pytest.raises(DataError, match="has no splits"):
        open_dataset("a.data", folder, split="train")


def test_a_description_of_llama_factory(folder: Path) -> None:
    (folder / "d").mkdir()
    row = {"talk": [{"who": "me", "said": "<image>What?"}, {"who": "it", "said": "A cat."}], "pics": ["../1.png"]}
    (folder / "d" / "talk.json").write_text(json.dumps([row]))
    tags = {"role_tag": "who", "content_tag": "said", "user_tag": "me", "assistant_tag": "it"}
    entries = {
        "talk": {
            "file_name": "talk.json",
            "formatting": "sharegpt",
            "columns": {"messages": "talk", "images": "pics"},
            "tags": tags,
        },
        "code": {"script_url": "code.py"},
        "better": {"file_name": "talk.json", "ranking": True},
    }
    (folder / "d" / "dataset_info.json").write_text(json.dumps(entries))
    for reference in ("d", "d/dataset_info.json"):
        dataset = load_dataset(reference, cwd=folder, config="talk")
        assert not dataset.problems
        assert dataset.examples[0].response == "A cat."
        assert dataset.detected_format is not None
        assert dataset.detected_format.layout == "conversations"
        assert "entry talk of dataset_info.json" in dataset.detected_format.why
    for config, expected in (
        (None, "has 3 entries"),
        ("x", 'has no entry "x"'),
        ("code", "uses a loading script"),
        ("better", "pairs"),
    ):
        with pytest.raises(DataError, match=expected):
            open_dataset("d", folder, config=config)


def test_callers_from_elsewhere_read_only_where_they_may(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    Image.new("RGB", (8, 8)).save(outside / "secret.png")
    (outside / "a.jsonl").write_bytes(jsonl_bytes())
    inside = folder / "in"
    inside.mkdir()
    (inside / "link.png").symlink_to(outside / "secret.png")
    (inside / "link.jsonl").symlink_to(outside / "a.jsonl")
    Image.new("RGB", (8, 8)).save(inside / "good.png")
    names = ["good.png", "link.png", str(outside / "secret.png"), "../../secret.png", "/etc/passwd"]
    (inside / "a.jsonl").write_text(
        "".join(json.dumps({"text": "a", "image": name, "response": "b"}) + "\n" for name in names)
    )
    policy = ReadPolicy((inside,))
    dataset = load_dataset("a.jsonl", cwd=inside, policy=policy)
    assert [example.row for example in dataset.examples] == [1]
    assert [problem.row for problem in dataset.problems] == [2, 3, 4, 5]
    assert all("outside the allowed folders" in problem.what for problem in dataset.problems)
    for reference in ("link.jsonl", str(outside / "a.jsonl"), "../1.png", "/etc/passwd"):
        with pytest.raises(DataError, match="outside the allowed folders"):
            open_dataset(reference, inside, policy=policy)
    with pytest.raises(DataError, match=r"does not exist|outside"):
        open_dataset("owner/name", inside, policy=policy)


class FakeHub:
    """Stands in for what is asked of `datasets`: its own streaming over rows made here."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        import datasets

        self.requested: list[tuple[Any, ...]] = []
        path = folder / "hub.parquet"
        created = datasets.Dataset.from_dict(
            {
                "text": ["a", "b"],
                "image": [{"bytes": (folder / f"{n}.png").read_bytes(), "path": None} for n in (1, 2)],
                "response": ["x", "y"],
            }
        ).cast_column("image", datasets.Image())
        created.to_parquet(path)
        stream = datasets.load_dataset("parquet", data_files=str(path), split="train", streaming=True)

        def load(name: str, config: str | None, *, split: str, streaming: bool, revision: str) -> Any:
            assert streaming
            self.requested.append((name, config, split, revision))
            return stream

        monkeypatch.setattr("mg_tui.data.sources.hub.resolve_commit", lambda _name, revision: revision or "c0ffee")
        monkeypatch.setattr(datasets, "load_dataset", load)
        monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *_args, **_more: ["train", "test"])


def test_a_name_on_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = FakeHub(folder, monkeypatch)
    source = open_dataset("owner/name", folder, config="c")
    assert (source.format, source.path, source.address) == ("hub", None, "hub:owner/name")
    assert detect_format(source).certainty == "likely"
    assert "looks like a Hub name" in detect_format(source).why
    rows = [row.values or {} for row in source.rows()]
    assert [row["text"] for row in rows] == ["a", "b"]
    assert rows[1]["image"]["bytes"] == (folder / "2.png").read_bytes()
    assert [row.number for row in source.rows(2)] == [2]
    assert source.address == "hub:owner/name@c0ffee"
    dataset = load_dataset("hub:owner/name@v2", cwd=folder, cache=folder / "cache", split="test")
    assert [example.response for example in dataset.examples] == ["x", "y"]
    assert dataset.address == "hub:owner/name@v2"
    assert hub.requested == [("owner/name", "c", "train", "c0ffee"), ("owner/name", None, "test", "v2")]


def test_a_hub_that_cannot_be_reached(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: Any) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("mg_tui.data.sources.hub.resolve_commit", fail)
    with pytest.raises(EnvironmentProblem, match="the Hub is unreachable") as caught:
        detect_format(open_dataset("owner/name", folder))
    assert "no route to host" in str(caught.value)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EnvironmentProblem, match="HF_HUB_OFFLINE is set"):
        detect_format(open_dataset("owner/name", folder))
    for reference in ("data/none.jsonl", "./owner/name", "a/b/c"):
        with pytest.raises(DataError, match="does not exist"):
            open_dataset(reference, folder)


def test_files_of_several_formats_in_one_folder_are_not_guessed_at(folder: Path) -> None:
    (folder / "a.parquet").write_bytes(parquet(folder))
    assert open_dataset(".", folder).count() == 70
    (folder / "a.tar").write_bytes(shard(folder))
    with pytest.raises(DataError, match="several formats") as caught:
        open_dataset(".", folder)
    assert "parquet, webdataset" in str(caught.value)
    assert open_dataset(".", folder, format="parquet").count() == 70
    (folder / "other.parquet").write_bytes(parquet(folder))
    result = detect_format(open_dataset(".", folder, format="parquet"))
    assert (result.certainty, result.why[:7]) == ("likely", "2 files")


@pytest.mark.parametrize(
    ("available", "requested", "read"),
    [
        (["train", "test", "validation"], None, "validation"),
        (["train", "test"], None, "test"),
        (["train", "other"], None, "train"),
        (["train", "test"], "train", "train"),
        (["answers"], None, "answers"),
    ],
)
def test_an_evaluation_reads_what_was_held_out_on_the_hub(
    folder: Path, monkeypatch: pytest.MonkeyPatch, available: list[str], requested: str | None, read: str
) -> None:
    import datasets

    from mg_tui.core.evaluation_spec import EvaluationSpec
    from mg_tui.data.evaluation_rows import load_evaluation_rows

    hub = FakeHub(folder, monkeypatch)
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *_args, **_more: available)
    spec = EvaluationSpec(model="m", dataset="owner/name", split=requested, text_field="text")
    found = load_evaluation_rows(spec, cwd=folder, cache=folder / "cache")
    assert [row.references for row in found.rows] == [("x",), ("y",)]
    assert [split for _name, _config, split, _revision in hub.requested] == [read]
    chosen = found.dataset.detected_format
    assert chosen is not None and (f"split {read} of " in chosen.why) == (read in ("validation", "test"))
