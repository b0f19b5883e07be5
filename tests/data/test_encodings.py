"""Text that is compressed, or in another encoding than UTF-8, is read as the plain file is; damage is an error."""

import bz2
import gzip
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import DataError, GardenError, UsageError
from mg_tui.data.browser import open_browser
from mg_tui.data.dataset import Dataset, load_dataset
from mg_tui.data.sources.opener import open_source

ROWS: list[dict[str, Any]] = [{"text": f"naïve café {n}?", "image": None, "response": f"é {n} €"} for n in range(300)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
ARRAY = json.dumps(ROWS, ensure_ascii=False, indent=1)
CSV = "text,image,response\n" + "".join(f"{row['text']},,{row['response']}\n" for row in ROWS)
WRAPPED = json.dumps({"data": ROWS}, ensure_ascii=False)
TEXTS = {"a.jsonl": LINES, "a.json": ARRAY, "a.csv": CSV, "w.json": WRAPPED}


def zipped(data: bytes, name: str, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/._a", b"x")
        archive.writestr(f"inside/{name}", data)


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".gz": gzip.compress,
}


def load(path: Path, **options: Any) -> Dataset:
    return load_dataset(path, cwd=path.parent, **options)


def answers(dataset: Dataset) -> list[str]:
    assert not dataset.problems, [str(problem) for problem in dataset.problems[:3]]
    return [example.response for example in dataset.examples]


EXPECTED = [row["response"] for row in ROWS]


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("extension", [*COMPRESSORS, ".zip"])
def test_compressed_text(tmp_path: Path, name: str, extension: str) -> None:
    data, path = TEXTS[name].encode(), tmp_path / f"{name}{extension}"
    if extension == ".zip":
        zipped(data, name, path)
    else:
        path.write_bytes(COMPRESSORS[extension](data))
    assert answers(load(path)) == EXPECTED


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "utf-8-sig"])
def test_encodings_that_are_detected(tmp_path: Path, name: str, encoding: str) -> None:
    if name.endswith(".csv") and encoding.endswith("e"):
        pytest.skip("a table without a byte order mark says nothing of its encoding")
    (tmp_path / name).write_bytes(TEXTS[name].encode(encoding))
    assert answers(load(tmp_path / name)) == EXPECTED


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("encoding", ["cp1252", "iso8859_15", "utf-16-le"])
def test_an_encoding_that_is_declared(tmp_path: Path, name: str, encoding: str) -> None:
    (tmp_path / name).write_bytes(TEXTS[name].encode(encoding))
    assert answers(load(tmp_path / name, encoding=encoding)) == EXPECTED


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_latin_1_that_is_not_declared_is_refused_with_the_flag(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(TEXTS[name].replace("€", "").encode("latin-1"))
    dataset = load(tmp_path / name)
    assert not dataset.examples
    assert {problem.what.split(":")[0] for problem in dataset.problems} == {"is not UTF-8"}
    assert "--dataset-encoding" in str(dataset.problems[0].hint)
    fixed = load(tmp_path / name, encoding="latin-1")
    assert [answer.strip() for answer in answers(fixed)] == [answer.replace("€", "").strip() for answer in EXPECTED]


def test_rows_of_an_encoded_file_can_be_browsed_and_quoted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes((LINES + '{"text": 3}\n').encode("utf-16"))
    source = open_source("a.jsonl", cwd=tmp_path, cache=None)
    assert not source.has_offsets
    row = open_browser(source, tmp_path / "cache").read_row(200)
    assert row.values is not None
    assert row.values["response"] == "é 199 €"
    assert '{"text": 3}' in load(path).problems[-1].raw


def test_damage_is_an_error(tmp_path: Path) -> None:
    cases: dict[str, bytes] = {
        "cut.jsonl.xz": lzma.compress(LINES.encode())[:-40],
        "cut.jsonl.bz2": bz2.compress(LINES.encode())[:-40],
        "odd.jsonl": LINES.encode("utf-16")[:-1],
        "bad.jsonl": b"\xff\xfe" + "{}\n".encode("utf-16-le") + b"\x00\xdc\x00\xdc",
    }
    flipped = bytearray(lzma.compress(LINES.encode()))
    flipped[len(flipped) // 2] ^= 0xFF
    cases["flipped.jsonl.xz"] = bytes(flipped)
    zipped(LINES.encode(), "a.jsonl", tmp_path / "good.zip")
    broken = bytearray((tmp_path / "good.zip").read_bytes())
    broken[len(broken) // 2] ^= 0xFF
    cases["flipped.jsonl.zip"] = bytes(broken)
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(GardenError) as caught:
            load(tmp_path / name)
        assert name in str(caught.value.where), name


def test_joined_xz_files_are_read_to_the_end(tmp_path: Path) -> None:
    half = len(LINES) // 2
    half = LINES.index("\n", half) + 1
    data = lzma.compress(LINES[:half].encode()) + lzma.compress(LINES[half:].encode())
    (tmp_path / "a.jsonl.xz").write_bytes(data)
    assert answers(load(tmp_path / "a.jsonl.xz")) == EXPECTED


def test_an_xz_header_that_claims_gigabytes_is_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**30}]
    (tmp_path / "a.jsonl.xz").write_bytes(lzma.compress(b'{"text": "a"}\n', filters=filters))
    with pytest.raises(DataError, match="cannot read"):
        load(tmp_path / "a.jsonl.xz")


def test_a_zip_of_several_files_or_images_is_asked_about(tmp_path: Path) -> None:
    for names, words in ((("a.jsonl", "b.jsonl"), "exactly one data file"), (("a.jsonl", "1.png"), "1 image")):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for name in names:
                archive.writestr(name, LINES)
        with pytest.raises(DataError, match=words) as caught:
            load(tmp_path / "a.zip")
        assert "unpack" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["nonsense", "hex", "rot13", ""])
def test_an_unknown_encoding_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.jsonl").write_text(LINES)
    with pytest.raises(UsageError, match="unknown text encoding"):
        load(tmp_path / "a.jsonl", encoding=name)
