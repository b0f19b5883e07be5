"""Every kind of pixel becomes the RGB a person would see; sampled pixel by pixel."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from mg_tui.data.images import ImageError, open_image, probe_image, verify_image

WHITE = (255, 255, 255)


def save_image(folder: Path, image: Image.Image, name: str, **options: Any) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


def pixels(image: Image.Image) -> list[tuple[int, ...]]:
    return [tuple(int(channel) for channel in pixel) for row in np.asarray(image) for pixel in row]


def is_near(image: Image.Image, at: tuple[int, int], expected: tuple[int, int, int], tolerance: int = 6) -> bool:
    got = image.getpixel(at)
    assert isinstance(got, tuple)
    return all(abs(a - b) <= tolerance for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(1, (2, 2)), (2, (37, 2)), (3, (37, 17)), (4, (2, 17)), (5, (2, 2)), (6, (17, 2)), (7, (17, 37)), (8, (2, 37))],
)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_orientation_is_applied(tmp_path: Path, name: str, orientation: int, corner: tuple[int, int]) -> None:
    image = Image.new("RGB", (40, 20), WHITE)
    image.paste((255, 0, 0), (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"lossless": True} if name == "a.webp" else {}
    if name == "a.jpg":
        options = {"quality": 95, "subsampling": 0}
    path = save_image(tmp_path, image, name, exif=exif, **options)
    opened = open_image(path)
    size = (20, 40) if orientation >= 5 else (40, 20)
    assert opened.size == size
    info = probe_image(path)
    assert (info.width, info.height) == size
    assert is_near(opened, corner, (255, 0, 0), 12)
    assert sum(pixel[1] < 128 for pixel in pixels(opened)) == pytest.approx(64, abs=8)


def test_broken_exif_says_nothing_about_the_pixels(tmp_path: Path) -> None:
    path = save_image(tmp_path, Image.new("RGB", (8, 8), (0, 0, 255)), "a.png", exif=b"Exif\0\0garbage that is no TIFF")
    assert pixels(open_image(path))[0] == (0, 0, 255)


def test_palette(tmp_path: Path) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 128, 0, 0, 0, 255])
    for x in range(3):
        image.putpixel((x, 0), x)
    assert pixels(open_image(save_image(tmp_path, image, "a.png"))) == [(255, 0, 0), (0, 128, 0), (0, 0, 255)]
    assert pixels(open_image(save_image(tmp_path, image, "b.gif"))) == [(255, 0, 0), (0, 128, 0), (0, 0, 255)]
    keyed = save_image(tmp_path, image, "c.png", transparency=1)
    assert pixels(open_image(keyed)) == [(255, 0, 0), WHITE, (0, 0, 255)]
    half = save_image(tmp_path, image, "d.png", transparency=bytes([255, 128, 0]))
    assert pixels(open_image(half)) == [(255, 0, 0), (127, 191, 127), WHITE]
    gif = save_image(tmp_path, image, "e.gif", transparency=2)
    assert pixels(open_image(gif)) == [(255, 0, 0), (0, 128, 0), WHITE]


def test_alpha_lies_over_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (3, 1))
    image.putpixel((0, 0), (200, 0, 0, 255))
    image.putpixel((1, 0), (200, 0, 0, 128))
    image.putpixel((2, 0), (200, 0, 0, 0))
    opened = pixels(open_image(save_image(tmp_path, image, "a.png")))
    assert opened[0] == (200, 0, 0)
    assert opened[1] == pytest.approx((227, 127, 127), abs=1)
    assert opened[2] == WHITE
    assert pixels(open_image(save_image(tmp_path, image, "a.webp", lossless=True, exact=True)))[2] == WHITE


def test_grey_with_alpha(tmp_path: Path) -> None:
    image = Image.new("LA", (2, 1))
    image.putpixel((0, 0), (40, 255))
    image.putpixel((1, 0), (40, 0))
    assert pixels(open_image(save_image(tmp_path, image, "a.png"))) == [(40, 40, 40), WHITE]


def test_key_colours(tmp_path: Path) -> None:
    grey = Image.new("L", (2, 1), 10)
    grey.putpixel((1, 0), 20)
    assert pixels(open_image(save_image(tmp_path, grey, "l.png", transparency=10))) == [WHITE, (20, 20, 20)]
    colour = Image.new("RGB", (2, 1), (1, 2, 3))
    colour.putpixel((1, 0), (4, 5, 6))
    assert pixels(open_image(save_image(tmp_path, colour, "rgb.png", transparency=(1, 2, 3)))) == [WHITE, (4, 5, 6)]


@pytest.mark.parametrize(
    ("cmyk", "rgb"),
    [
        ((0, 0, 0, 0), WHITE),
        ((0, 0, 0, 255), (0, 0, 0)),
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 255, 255, 0), (255, 0, 0)),
    ],
)
def test_cmyk(tmp_path: Path, cmyk: tuple[int, ...], rgb: tuple[int, int, int]) -> None:
    image = Image.new("CMYK", (16, 16), cmyk)
    assert is_near(open_image(save_image(tmp_path, image, "a.tif")), (8, 8), rgb)
    path = save_image(tmp_path, image, "a.jpg", quality=95)
    # libjpeg marks CMYK as Adobe's, and Pillow stores it inverted as Adobe does: ink 0 is byte 255 in the file.
    assert b"Adobe" in path.read_bytes()[:200]
    assert is_near(open_image(path), (8, 8), rgb)


def test_sixteen_bit_grey_is_scaled(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 257, 32_768, 65_535]], dtype=np.uint16)
    expected = [0, 0, 1, 1, 128, 255]
    for name in ("a.png", "a.tif"):
        opened = open_image(save_image(tmp_path, Image.fromarray(values), name))
        assert [pixel[0] for pixel in pixels(opened)] == expected
    big_endian = Image.frombytes("I;16B", (6, 1), values.astype(">u2").tobytes())
    opened = open_image(save_image(tmp_path, big_endian, "b.tif"))
    assert [pixel[0] for pixel in pixels(opened)] == expected


def test_sixteen_bit_grey_with_a_key(tmp_path: Path) -> None:
    raw = io.BytesIO()
    Image.fromarray(np.array([[1000, 2000]], dtype=np.uint16)).save(raw, "PNG")
    data = raw.getvalue()
    key = struct.pack(">H", 1000)
    chunk = struct.pack(">I", 2) + b"tRNS" + key + struct.pack(">I", zlib.crc32(b"tRNS" + key))
    at = data.index(b"IDAT") - 4
    path = tmp_path / "k.png"
    path.write_bytes(data[:at] + chunk + data[at:])
    assert pixels(open_image(path)) == [WHITE, (8, 8, 8)]


def test_pgm_of_sixteen_bits_stays_dark(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 3 1 65535\n" + struct.pack(">3H", 0, 200, 257))
    assert [pixel[0] for pixel in pixels(open_image(path))] == [0, 1, 1]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 100, 255], [0, 100, 255]), ([0, 32_768, 65_535], [0, 128, 255]), ([-100, 0, 100], [0, 128, 255]),
     ([0, 500_000, 1_000_000], [0, 128, 255]), ([7, 7, 7], [7, 7, 7])],
)  # fmt: skip
def test_whole_numbers(tmp_path: Path, values: list[int], expected: list[int]) -> None:
    path = save_image(tmp_path, Image.fromarray(np.array([values], dtype=np.int32)), "a.tif")
    assert [pixel[0] for pixel in pixels(open_image(path))] == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.0, 0.5, 1.0], [0, 128, 255]), ([0.0, 100.4, 255.0], [0, 100, 255]), ([-1.0, 0.0, 1.0], [0, 128, 255])],
)
def test_floats(tmp_path: Path, values: list[float], expected: list[int]) -> None:
    path = save_image(tmp_path, Image.fromarray(np.array([values], dtype=np.float32)), "a.tif")
    verify_image(path)
    assert [pixel[0] for pixel in pixels(open_image(path))] == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_floats_that_are_no_numbers_are_refused(tmp_path: Path, bad: float) -> None:
    path = save_image(tmp_path, Image.fromarray(np.array([[0.0, bad]], dtype=np.float32)), "a.tif")
    for see in (verify_image, open_image):
        with pytest.raises(ImageError, match="NaN or infinite"):
            see(path)


def test_one_bit(tmp_path: Path) -> None:
    image = Image.new("1", (2, 1), 1)
    image.putpixel((0, 0), 0)
    for name in ("a.png", "a.tif", "a.bmp"):
        assert pixels(open_image(save_image(tmp_path, image, name))) == [(0, 0, 0), WHITE]


def test_lab(tmp_path: Path) -> None:
    turned = ImageCms.profileToProfile(
        Image.new("RGB", (4, 4), (200, 30, 60)), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )  # fmt: skip
    assert turned is not None
    assert is_near(open_image(save_image(tmp_path, turned, "a.tif")), (1, 1), (200, 30, 60))


def test_the_result_does_not_need_the_file(tmp_path: Path) -> None:
    path = save_image(tmp_path, Image.new("RGB", (4, 4), (1, 2, 3)), "a.png")
    opened = open_image(path)
    path.unlink()
    assert opened.mode == "RGB"
    assert opened.resize((2, 2)).getpixel((0, 0)) == (1, 2, 3)
