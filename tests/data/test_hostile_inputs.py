"""Hostile datasets and images through the whole check: nothing crashes, nothing escapes, what is refused is named.

With the fuzz tests beside it, about 1,200 mutated rows, 400 mutated images and 200 mutated files.
"""

import base64
import gzip
import io
import json
import string
import tempfile
from pathlib import Path
from typing import Any
from unicodedata import category

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mg_tui.core.errors import GardenError
from mg_tui.data import embedded_images
from mg_tui.data.browser import open_browser
from mg_tui.data.checks.findings import CheckReport
from mg_tui.data.checks.runner import CheckLimits, run_checks
from mg_tui.data.images import ImageError, open_image, probe_image, verify_image
from mg_tui.data.row_loader import ReadOptions
from mg_tui.data.sources.opener import open_source

FUZZ_SETTINGS: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "database": None,
    "derandomize": True,
}
LIMITS = CheckLimits(2048, 784, 10**6)


def is_safe(text: str) -> bool:
    """One line, no control characters, no halves of surrogate pairs, nothing that turns the order of letters."""
    return not any(category(c) in ("Cc", "Cs", "Zl", "Zp") or "\u202a" <= c <= "\u202e" for c in text)


# --- rows ------------------------------------------------------------------------------------------------------------

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
TEXT = st.sampled_from(
    ["q", "<image>", "<image><image> a", "a\x1b]0;x\x07", "\u202edrow", "\ufdd0", "a\0b", "\ud800", "<|im_end|>", "",
     " ", "=cmd()", "[red]x[/red]", "x" * 3000]
) | st.text(max_size=8)  # fmt: skip
PATH = st.sampled_from(
    ["good.png", "./good.png", "bad.png", "bomb.png", "none.png", "loop.png", "folder", "../../../etc/passwd",
     "/dev/zero", "/proc/self/mem", "file:///etc/shadow", "http://127.0.0.1/x", "http://[::1]/x", "http://10.0.0.1/x",
     "http://169.254.169.254/latest/meta-data/", "http://0x7f.1/", "ftp://x/y", "data:image/png;base64,AAAA",
     "data:image/png;base64,%%%", "data:,", "data:image/svg+xml,<svg/>", "good.png\0", "\x1b[31m", "~root/x",
     "a" * 5000, ""]
)  # fmt: skip
IMAGE = PATH | st.lists(PATH, max_size=3) | st.fixed_dictionaries({}, optional={"path": PATH, "bytes": TEXT}) | JUNK
PART = (
    st.fixed_dictionaries({"type": st.just("text"), "text": TEXT | JUNK})
    | st.fixed_dictionaries({"type": st.just("image"), "image": IMAGE})
    | st.fixed_dictionaries({"type": st.just("image_url"), "image_url": IMAGE | st.fixed_dictionaries({"url": PATH})})
    | JUNK
)
ROLE = st.sampled_from(["user", "assistant", "system", "human", "gpt", "tool", "USER", ""]) | JUNK
TURNS = st.lists(
    st.fixed_dictionaries({"role": ROLE, "content": TEXT | st.lists(PART, max_size=3) | JUNK})
    | st.fixed_dictionaries({"from": ROLE, "value": TEXT | JUNK})
    | JUNK,
    max_size=4,
)
ROW = (
    st.fixed_dictionaries({"text": TEXT | JUNK, "image": IMAGE, "response": TEXT | JUNK})
    | st.fixed_dictionaries({"messages": TURNS | JUNK}, optional={"images": IMAGE, "system": JUNK})
    | st.fixed_dictionaries({"conversations": TURNS}, optional={"image": IMAGE})
    | st.fixed_dictionaries(
        {"instruction": TEXT | JUNK, "output": TEXT | JUNK}, optional={"input": JUNK, "images": IMAGE}
    )
    | st.fixed_dictionaries({"question": TEXT | JUNK, "answers": JUNK, "image": IMAGE})
    | st.dictionaries(st.text(max_size=5), JUNK, max_size=3)
)
FIRST: tuple[dict[str, Any], ...] = (
    {"text": "q", "image": "good.png", "response": "a"},
    {
        "messages": [{"role": "user", "content": "<image>q"}, {"role": "assistant", "content": "a"}],
        "images": ["good.png"],
    },
    {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
)


@st.composite
def line(draw: st.DrawFn) -> bytes:
    encoded = bytearray(json.dumps(draw(ROW), ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass"))
    for _change in range(draw(st.sampled_from([0, 0, 0, 0, 1, 3]))):
        at = draw(st.integers(0, len(encoded) - 1))
        encoded[at : at + draw(st.integers(0, 3))] = draw(st.sampled_from([*string.printable, "\0", "\xff"])).encode()
        if not encoded:
            break
    return bytes(encoded).replace(b"\n", b" ").replace(b"\r", b" ")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    created = tmp_path_factory.mktemp("hostile")
    Image.effect_noise((150, 150), 50).save(created / "good.png")
    (created / "bad.png").write_bytes((created / "good.png").read_bytes()[:60])
    (created / "bomb.png").write_bytes(_png_claiming(60_000, 60_000))
    (created / "loop.png").symlink_to(created / "loop.png")
    (created / "folder").mkdir()
    return created


def _png_claiming(width: int, height: int) -> bytes:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 16)) + chunk(b"IEND", b"")


def run_check(path: Path, folder: Path, **read_options: Any) -> CheckReport:
    cache = path.parent / "cache"
    source = open_source(str(path), cwd=folder, cache=cache)
    source.base = folder
    reading = ReadOptions(cwd=folder, cache=cache, allow_private_urls=False, workers=1, **read_options)
    return run_checks(source, reading, LIMITS)


@settings(max_examples=150, **FUZZ_SETTINGS)
@given(st.sampled_from(FIRST), st.lists(line(), min_size=3, max_size=6), st.booleans())
def test_every_row_is_good_or_named_with_a_reason(
    folder: Path, first: dict[str, Any], lines: list[bytes], full: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "data.jsonl"
        path.write_bytes(b"\n".join([json.dumps(first).encode(), *lines]))
        report = run_check(path, folder, probe_depth="decode" if full else "header")
        bad = set(report.bad_rows())
        blank = {number for number, text in enumerate(lines, 2) if not text.removeprefix(b"\xef\xbb\xbf").strip()}
        assert report.rows == 1 + len(lines) - len(blank)
        assert report.good_rows == report.rows - len(bad)
        for finding in report.findings:
            assert 0 <= finding.row <= 1 + len(lines)
            assert finding.what and is_safe(finding.what), finding
            assert is_safe(finding.hint or "") and is_safe(finding.field or ""), finding
        json.dumps(report.as_dict()).encode("utf-8")
        browser = open_browser(open_source(str(path), cwd=folder, cache=None), None)
        assert [row.number for row in browser.read_rows(1, 100)] == sorted(set(range(1, 2 + len(lines))) - blank)


# --- files -----------------------------------------------------------------------------------------------------------


def valid_files() -> dict[str, bytes]:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.feather  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    rows = [{"text": f"q{number}", "image": "good.png", "response": f"a{number}"} for number in range(4)]
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    table = pa.Table.from_pylist(rows)
    parquet, arrow = io.BytesIO(), io.BytesIO()
    pyarrow.parquet.write_table(table, parquet)
    with pa.ipc.new_file(arrow, table.schema) as writer:
        writer.write_table(table)
    return {
        "jsonl": text,
        "jsonl.gz": gzip.compress(text),
        "json": json.dumps(rows).encode(),
        "csv": b"text,image,response\n" + b"".join(b'"q, 1",good.png,"a\nb"\n' for _row in rows),
        "parquet": parquet.getvalue(),
        "arrow": arrow.getvalue(),
    }


FILES = valid_files()


@st.composite
def mutated_file(draw: st.DrawFn) -> tuple[str, bytes]:
    ending = draw(st.sampled_from(sorted(FILES)))
    data = bytearray(FILES[ending])
    for _change in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(["set", "cut", "insert", "repeat", "other"])):
            case "set" if data:
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at : at + draw(st.integers(1, 200))]
            case "insert":
                data[at:at] = draw(st.binary(max_size=9))
            case "repeat":
                data[at:at] = data[at : at + 40]
            case "other":
                data[at:] = FILES[draw(st.sampled_from(sorted(FILES)))][at:]
    return ending, bytes(data)


@settings(max_examples=200, **FUZZ_SETTINGS)
@given(mutated_file())
def test_mutated_files_are_read_or_refused(folder: Path, mutated: tuple[str, bytes]) -> None:
    ending, data = mutated
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / f"data.{ending}"
        path.write_bytes(data)
        try:
            report = run_check(path, folder)
        except GardenError as error:
            assert error.what and all(is_safe(text) for text in error.lines()), error.lines()
            return
        assert report.rows >= report.good_rows
        for finding in report.findings:
            assert finding.what and is_safe(finding.what), finding


# --- images --------------------------------------------------------------------------------------------------------


def encode_image(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


NOISE = Image.effect_noise((40, 30), 90)
VALID_IMAGES = {
    "cmyk.jpg": (encode_image(NOISE.convert("CMYK"), "JPEG"), "CMYK"),
    "palette.png": (encode_image(NOISE.convert("P"), "PNG"), "P"),
    "palette with a transparent colour.gif": (encode_image(NOISE.convert("P"), "GIF", transparency=3), "P"),
    "sixteen.png": (encode_image(Image.new("I;16", (40, 30), 40_000), "PNG"), "I;16"),
    "one bit.png": (encode_image(NOISE.convert("1"), "PNG"), "1"),
    "alpha.webp": (encode_image(Image.new("RGBA", (40, 30), (9, 9, 9, 90)), "WEBP"), "RGBA"),
    "really a png.jpg": (encode_image(NOISE, "PNG"), "L"),
    "zip behind it.jpg": (encode_image(NOISE, "JPEG") + b"PK\x03\x04" + b"\0" * 500, "L"),
    "script behind it.gif": (encode_image(NOISE.convert("P"), "GIF") + b"<script>alert(1)</script>", "P"),
    "html in a comment.jpg": (encode_image(NOISE, "JPEG", comment=b"<html><script>x</script>"), "L"),
}  # fmt: skip


@pytest.mark.parametrize("name", VALID_IMAGES)
def test_odd_images_are_seen_as_rgb(tmp_path: Path, name: str) -> None:
    data, mode = VALID_IMAGES[name]
    path = tmp_path / name
    path.write_bytes(data)
    info = verify_image(path)
    assert (info.width, info.height, info.mode) == (40, 30, mode)
    assert probe_image(path) == info
    opened = open_image(path)
    assert (opened.mode, opened.size) == ("RGB", (40, 30))


SVG = b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>'
REFUSED_IMAGES = {
    "svg.png": (SVG, "SVG"),
    "html that begins like a gif.gif": (b"GIF89a<script>alert(1)</script>", "truncated|damaged|claims|not an image"),
    "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n", "PostScript"),
    "pickle.png": (b"\x80\x04\x95\x0e\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93", "not a supported image"),
    "huge gif.gif": (b"GIF89a\xff\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02", "claims|damaged"),
    "huge bmp.bmp": (b"BM" + b"\0" * 8 + b"6\0\0\0(\0\0\0" + b"\xff\xff\xff\x7f" * 2 + b"\x01\0\x18\0" + b"\0" * 9, ""),
    "huge ppm.ppm": (b"P6 999999 999999 255\n\0\0\0", "claims"),
    "negative ppm.ppm": (b"P6 -1 9 255\n\0\0\0", ""),
    "text chunk bomb.png": (b"", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_IMAGES)
def test_bombs_and_polyglots_are_refused_with_a_reason(tmp_path: Path, name: str) -> None:
    import re
    import zlib

    data, expected = REFUSED_IMAGES[name]
    if name == "text chunk bomb.png":  # a hundred megabytes of text in a few hundred bytes
        whole, bomb = encode_image(NOISE, "PNG"), b"a\0\0" + zlib.compress(b"\0" * 10**8, 9)
        data = (
            whole[:33] + len(bomb).to_bytes(4, "big") + b"zTXt" + bomb + zlib.crc32(b"zTXt" + bomb).to_bytes(4, "big")
        )
        data += whole[33:]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ImageError) as caught:
        verify_image(path)
    assert is_safe(caught.value.reason)
    assert re.search(expected, caught.value.reason), caught.value.reason


def test_ten_thousand_frames_cost_one(tmp_path: Path) -> None:
    import time

    path = tmp_path / "many.gif"
    frame = Image.new("P", (16, 16))
    item = encode_image(frame, "GIF")
    # Frames are copied by hand: writing so many takes the library a minute.
    body = item[item.index(b",") : -1]
    path.write_bytes(item[:-1] + body * 10_000 + b";")
    began = time.process_time()
    info = verify_image(path)
    assert info.animated
    assert open_image(path).size == (16, 16)
    assert time.process_time() - began < 5, "every frame was decoded"


def test_a_data_uri_is_judged_by_its_size_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_images, "MAX_EMBEDDED_IMAGE_BYTES", 3000)

    def refuse(*_arguments: object, **_options: object) -> bytes:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(base64, "b64decode", refuse)
    with pytest.raises(ImageError, match="the limit for embedded images is 3,000"):
        embedded_images.decode_data_uri("data:image/png;base64," + "A" * 10_000)
