"""Whatever a dataset and its images hold, loading gives examples and problems that name row and reason."""

import io
import json
import string
import tempfile
from pathlib import Path
from typing import Any
from unicodedata import category

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mg_tui.data.dataset import Dataset, load_dataset, require_no_bad_rows, write_rejects
from mg_tui.data.images import ImageError, open_image, probe_image, verify_image
from mg_tui.data.row_problems import BadRows

FUZZ_SETTINGS: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "database": None,
    "derandomize": True,
}


def is_safe(text: str) -> bool:
    """One line, no control characters, no halves of surrogate pairs, nothing that turns the order of letters."""
    return not any(category(c) in ("Cc", "Cs", "Zl", "Zp") or "\u202a" <= c <= "\u202e" for c in text)


def encode_image(kind: str) -> bytes:
    buffer = io.BytesIO()
    image = Image.effect_noise((23, 17), 90)
    mode, format = {"rgba.png": ("RGBA", "PNG"), "p.gif": ("P", "GIF"), "f.tif": ("F", "TIFF")}.get(
        kind, ("RGB", {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "bmp": "BMP", "tif": "TIFF", "jp2": "JPEG2000",
                       "avif": "AVIF", "ico": "ICO", "ppm": "PPM"}.get(kind.split(".")[-1], "PNG")),
    )  # fmt: skip
    image.convert(mode).save(buffer, format)
    return buffer.getvalue()


SEEDS = [encode_image(f"a.{end}") for end in ("jpg", "png", "webp", "bmp", "tif", "jp2", "avif", "ico", "ppm")]
SEEDS += [encode_image("rgba.png"), encode_image("p.gif"), encode_image("f.tif")]


@st.composite
def mutated_bytes(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _change in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(["set", "cut", "repeat", "insert", "splice", "head"])):
            case "set" if data:
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at:]
            case "repeat":
                data[at:at] = data[at : at + 40]
            case "insert":
                data[at:at] = draw(st.binary(max_size=9))
            case "splice":
                data[at:] = draw(st.sampled_from(SEEDS))[at:]
            case "head" if len(data) > 40:  # sizes and offsets live here
                data[draw(st.integers(0, 40))] = draw(st.sampled_from([0, 1, 127, 128, 255]))
    return bytes(data)


@settings(max_examples=400, **FUZZ_SETTINGS)
@given(mutated_bytes())
def test_mutated_images_open_or_are_refused(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        accepted: list[Any] = []
        for read in (probe_image, verify_image, open_image):
            try:
                accepted.append(read(file.name))
            except ImageError as error:
                assert error.reason
                assert is_safe(error.reason)
        if len(accepted) == 3:
            assert accepted[2].mode == "RGB"
            assert accepted[2].size == (accepted[1].width, accepted[1].height)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PATHS = st.sampled_from(
    ["good.png", "./good.png", "bad.png", "none.png", ".", "..", "/", "../../etc/passwd", "/dev/zero", "~", "data:,x",
     "file:///dev/null", "file://[", "http://127.0.0.1/x", "http://", "https://[::1", "good.png\0",
     "\x1b[31m", "a" * 5000]
)  # fmt: skip
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "text": st.text(max_size=20) | JUNK,
        "image": PATHS | st.lists(PATHS, max_size=3) | JUNK,
        "response": st.text(max_size=20) | JUNK,
        "other": JUNK,
    },
)
# Rows whose fields are right get as far as their images.
NEARLY_VALID_ROWS = st.fixed_dictionaries(
    {"text": st.just("q"), "image": PATHS | st.lists(PATHS, max_size=3) | JUNK, "response": st.text(min_size=1)}
)


@st.composite
def line(draw: st.DrawFn) -> bytes:
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=60)).replace(b"\n", b"")
    encoded_row = bytearray(
        json.dumps(draw(FIELDS | NEARLY_VALID_ROWS), ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    )
    for _change in range(draw(st.sampled_from([0, 0, 0, 1, 3]))):
        at = draw(st.integers(0, len(encoded_row) - 1))
        encoded_row[at : at + draw(st.integers(0, 2))] = draw(st.sampled_from(string.printable + "\0")).encode()
        if not encoded_row:
            break
    return bytes(encoded_row).replace(b"\n", b" ")


@settings(max_examples=150, **FUZZ_SETTINGS)
@given(st.lists(line(), min_size=1, max_size=6))
def test_every_line_is_an_example_or_a_problem(lines: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Image.new("RGB", (8, 8)).save(folder / "good.png")
        (folder / "bad.png").write_bytes(SEEDS[1][:50])
        path = folder / "data.jsonl"
        path.write_bytes(b'{"text": "q", "image": "good.png", "response": "a"}\n' + b"\n".join(lines))
        dataset = load_dataset(path, cache=folder / "cache", cwd=folder, allow_private_urls=False, workers=1)
        assert_accounted_for(dataset, [b"", *lines])


def assert_accounted_for(dataset: Dataset, lines: list[bytes]) -> None:
    good, bad = {example.row for example in dataset.examples}, set(dataset.bad_rows)
    blank = {
        number for number, text in enumerate(lines, 1)
        if number > 1 and not text.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n\v\f")
    }  # fmt: skip
    assert not good & bad
    assert good | bad | blank == set(range(1, len(lines) + 1))
    for problem in dataset.problems:
        assert is_safe(problem.what), problem.what
        assert is_safe(problem.hint or ""), problem.hint
        assert problem.raw.encode("utf-8", "surrogateescape") == lines[problem.row - 1].rstrip(b"\r\n")
    for example in dataset.examples:
        assert example.response.strip()
        json.dumps(example.messages[0].text, ensure_ascii=False).encode("utf-8")
    try:
        require_no_bad_rows(dataset)
    except BadRows as error:
        str(error).encode("utf-8")
        records = read_rejects(dataset)
        assert [record["row"] for record in records] == sorted(bad)
    else:
        assert not bad


def read_rejects(dataset: Dataset) -> list[Any]:
    target = dataset.path.with_name("rejects.jsonl")
    write_rejects(target, dataset.problems)
    return [json.loads(text) for text in target.read_text(encoding="utf-8").splitlines()]
