"""Files made to break a reader: each ends in an error or a problem of a row, in bounded time and memory."""

import io
import json
import os
import resource
import signal
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Literal

import pytest
from PIL import Image

from mg_tui.core.errors import DataError
from mg_tui.data.convert.converter import ConvertRequest, convert
from mg_tui.data.dataset import load_dataset
from mg_tui.data.image_downloads import ImageDownloads
from mg_tui.data.image_resolver import ImageResolver
from mg_tui.data.images import ImageError, verify_image
from mg_tui.data.row_problems import BadRows
from mg_tui.data.sources.detection import detect_format
from mg_tui.data.sources.opener import open_source


@pytest.fixture(autouse=True)
def within_a_minute() -> Iterator[None]:
    """A test that hangs fails."""

    def expire(_signal: int, _frame: FrameType | None) -> None:
        pytest.fail("the reader hangs")  # not an OSError, which readers take for a bad file

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


DEEP = "[" * 100_000 + "]" * 100_000


# --- tracebacks


@pytest.mark.parametrize("name", ["state.json", "dataset_dict.json"])
def test_a_deep_state_json_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(DEEP)
    with pytest.raises(DataError, match=r"cannot (be )?read"):
        load_dataset(tmp_path)


def test_a_description_that_names_itself_is_an_error(tmp_path: Path) -> None:
    for name in ("dataset_info.json", ".", f"../{tmp_path.name}"):
        (tmp_path / "dataset_info.json").write_text(json.dumps({"a": {"file_name": name}}))
        with pytest.raises(DataError, match="refers to another description"):
            load_dataset(tmp_path)


def test_a_folder_1500_deep_is_an_error(tmp_path: Path) -> None:
    here = os.getcwd()  # noqa: PTH109
    try:
        os.chdir(tmp_path)
        for _level in range(1500):
            os.mkdir("d")  # noqa: PTH102
            os.chdir("d")
    finally:
        os.chdir(here)
    with pytest.raises(DataError, match="nested deeper"):
        load_dataset(tmp_path, format="imagefolder")
    with pytest.raises(DataError, match="nested deeper"):
        load_dataset(tmp_path)


def test_a_lone_surrogate_in_an_unused_field_is_a_problem_of_its_row(tmp_path: Path) -> None:
    row = {"text": "a", "image": None, "response": "b"}
    for unused in ({"note": "\ud83d"}, {"note": {"\ud83d": 1}}):
        (tmp_path / "a.jsonl").write_text(json.dumps({**row, **unused}) + "\n" + json.dumps(row) + "\n")
        source = open_source("a.jsonl", cwd=tmp_path, cache=None)
        resolver = ImageResolver(tmp_path)
        for name in ("b.jsonl", "b.csv", "b.parquet", "b.tar"):
            with pytest.raises(BadRows, match="lone surrogate"):
                convert(source, detect_format(source), ConvertRequest(tmp_path / name), cache=None, resolver=resolver)


# --- hangs


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv", "a.txt", "state.json", "dataset_info.json"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_device_under_a_name_of_ours_is_not_read(tmp_path: Path, name: str, kind: str) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    if kind == "pipe":
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).symlink_to("/dev/zero")
    with suppress(DataError):
        assert not load_dataset(tmp_path).examples


def test_files_of_a_saved_dataset_that_are_pipes_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "a.arrow"}]}))
    os.mkfifo(tmp_path / "a.arrow")
    with pytest.raises(DataError, match="not a regular file"):
        load_dataset(tmp_path)
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train"]}))
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "state.json").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="not a regular file"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_that_claims_a_member_of_8_eib_ends(tmp_path: Path, format: Literal[1, 2]) -> None:
    member = tarfile.TarInfo("a.bin")
    member.size = 2**63 - 1
    header = member.tobuf(format)
    (tmp_path / "a.tar").write_bytes(header + b"\0" * (1536 - len(header) % 512))
    dataset = load_dataset(tmp_path / "a.tar")
    assert not dataset.examples
    assert dataset.problems


def test_a_tar_that_claims_a_name_of_a_gibibyte_is_damaged(tmp_path: Path) -> None:
    member = tarfile.TarInfo("a")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 2**30
    (tmp_path / "a.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + b"\0" * 2048)
    assert "claims 1,073,741,824 bytes" in load_dataset(tmp_path / "a.tar").problems[-1].what


# --- memory


def test_a_parquet_file_of_kilobytes_takes_no_gigabytes(tmp_path: Path) -> None:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    path = tmp_path / "a.parquet"
    large = "x" * (80 * 2**20)
    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * 16), pa.array([large]))
    table = pa.table({"text": repeated, "image": pa.nulls(16), "response": ["b"] * 16})
    pq.write_table(table, path, compression="zstd", dictionary_pagesize_limit=2**30)
    del table, repeated, large
    assert path.stat().st_size < 100_000
    script = (
        "import sys; from mg_tui.data.dataset import load_dataset; d = load_dataset(sys.argv[1]);"
        "assert not d.examples and len(d.problems) == 16, (len(d.examples), len(d.problems));"
        "assert 'the limit is 67,108,864' in d.problems[0].what, d.problems[0].what"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (5 * 2**28, 5 * 2**28))

    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], preexec_fn=limit, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
@pytest.mark.parametrize("kind", ["file", "stream"])
def test_an_arrow_file_that_expands_to_gigabytes_is_refused(tmp_path: Path, kind: str, compression: str) -> None:
    import pyarrow as pa

    def write(path: Path, rows: int, text: str) -> None:
        table = pa.table({"text": [text] * rows, "image": pa.nulls(rows), "response": ["b"] * rows})
        options = pa.ipc.IpcWriteOptions(compression=compression)
        opener = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
        with opener(str(path), table.schema, options=options) as writer:
            writer.write_table(table)

    write(tmp_path / "good.arrow", 40, "A wall. " * 50)
    assert len(load_dataset(tmp_path / "good.arrow").examples) == 40
    write(tmp_path / "bomb.arrow", 16, "x" * (40 * 2**20))
    with pytest.raises(DataError, match="claims 671,"):
        load_dataset(tmp_path / "bomb.arrow")


@pytest.mark.parametrize("cell", ["x" * (40 * 2**20), ("x" * 1023 + "\n") * 40_960])
def test_a_csv_row_of_several_large_cells_is_too_long(tmp_path: Path, cell: str) -> None:
    (tmp_path / "a.csv").write_text(f'text,image,response\na,,b\n"{cell}","","{cell}"\n')
    dataset = load_dataset(tmp_path / "a.csv")
    assert len(dataset.examples) == 1
    assert "the limit" in dataset.problems[0].what


# --- images


@pytest.mark.parametrize(
    ("mode", "what", "bytes_per_pixel"),
    [("F", "verify", 4.9), ("F", "open", 8.9), ("I;16", "open", 6.9), ("RGBA", "verify", 4.9), ("RGBA", "open", 8.9)],
)
def test_large_images_take_the_memory_of_themselves_and_of_their_result(
    tmp_path: Path, mode: str, what: str, bytes_per_pixel: float
) -> None:
    side = 5000
    path = tmp_path / ("a.png" if mode == "RGBA" else "a.tif")
    Image.new(mode, (side, side)).save(path)
    script = (
        "import resource, sys; import numpy; from PIL import Image; from mg_tui.data import images\n"
        "images.verify_image(sys.argv[2]); images.open_image(sys.argv[2])\n"  # libraries are loaded
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "getattr(images, sys.argv[3] + '_image')(sys.argv[1])\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)"
    )
    small = tmp_path / f"small{path.suffix}"
    Image.new(mode, (64, 64)).save(small)
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), str(small), what], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < bytes_per_pixel * side * side


def test_a_png_with_a_bad_checksum_is_damaged(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((40, 30), 50).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    at = data.index(b"IDAT")
    length = int.from_bytes(data[at - 4 : at], "big")
    data[at + 4 + length] ^= 1
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ImageError, match="checksum"):
        verify_image(tmp_path / "a.png")
    data[at + 4 + length] ^= 1
    (tmp_path / "a.png").write_bytes(data)
    verify_image(tmp_path / "a.png")
    assert zlib.crc32(data[at : at + 4 + length]).to_bytes(4, "big") == data[at + 4 + length : at + 8 + length]


# --- addresses


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/latest", "http://[fd00:ec2::254]/", "http://[::ffff:169.254.169.254]/",
            "http://100.100.100.200/", "http://2852039166/"]
)  # fmt: skip
def test_metadata_addresses_are_refused_where_private_ones_are_allowed(tmp_path: Path, url: str) -> None:
    with pytest.raises(ImageError, match="never allowed"):
        ImageDownloads(tmp_path, allow_private=True).fetch(url)
