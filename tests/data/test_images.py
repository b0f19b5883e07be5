"""Files that are no usable images are refused with the reason, and nothing a decoder raises gets out."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFile

from mg_tui.data import images
from mg_tui.data.images import ImageError, open_image, probe_image, verify_image
from tests.data.conftest import png_claiming


def refusal_reason(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        verify_image(path)
    with pytest.raises(ImageError) as opened:
        open_image(path)
    assert opened.value.reason == caught.value.reason
    assert str(path)[:100] in caught.value.what
    return caught.value.reason


def test_what_is_known_of_a_good_image(image_file: Path) -> None:
    info = probe_image(image_file)
    assert (info.width, info.height, info.format, info.mode, info.animated) == (64, 48, "JPEG", "RGB", False)
    assert info.bytes == image_file.stat().st_size
    assert verify_image(image_file) == info
    assert open_image(str(image_file)).size == (64, 48)


def test_a_bomb_is_refused_by_its_header(bomb: Path) -> None:
    assert bomb.stat().st_size < 200
    with pytest.raises(ImageError, match="claims 3,600,000,000 pixels"):
        probe_image(bomb)
    refusal_reason(bomb)


def test_just_over_the_limit(tmp_path: Path, bomb: Path) -> None:
    path = tmp_path / "over.png"
    # IHDR holds the width at byte 16; its checksum no longer fits, which matters less than the size.
    from struct import pack
    from zlib import crc32

    head = b"IHDR" + pack(">IIBBBBB", 20_000, 9_000, 8, 2, 0, 0, 0)
    path.write_bytes(bomb.read_bytes()[:12] + head + pack(">I", crc32(head)) + bomb.read_bytes()[33:])
    assert "180,000,000" in refusal_reason(path) or "20,000 x 9,000" in refusal_reason(path)


def test_the_limit_is_our_own_and_not_pillows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of tests a warning of Pillow is no error, and Pillow refuses no image below twice the limit."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as other libraries set it
    path = tmp_path / "large.png"
    path.write_bytes(png_claiming(20_000, 9_000))
    with pytest.raises(ImageError, match="claims 20,000 x 9,000 pixels") as caught:
        probe_image(path)
    assert caught.value.kind == "bomb"
    assert "claims 20,000 x 9,000 pixels" in refusal_reason(path)
    path.write_bytes(png_claiming(20_000, 8_000))
    assert probe_image(path).width == 20_000


def test_missing_folder_empty_and_devices(tmp_path: Path) -> None:
    assert refusal_reason(tmp_path / "none.png") == "does not exist"
    assert refusal_reason(tmp_path) == "is a folder"
    (tmp_path / "empty.png").touch()
    assert refusal_reason(tmp_path / "empty.png") == "is empty (0 bytes)"
    os.mkfifo(tmp_path / "pipe.png")
    assert refusal_reason(tmp_path / "pipe.png") == "is not a regular file"
    assert "cannot be read" in refusal_reason(tmp_path / ("x" * 300))
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    assert "cannot be read" in refusal_reason(tmp_path / "loop.png")


def test_no_permission(image_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_args: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    assert refusal_reason(image_file) == "cannot be read: permission denied"


@pytest.mark.parametrize("length", [3, 20, 200, 0.5, 0.95])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.gif", "a.bmp", "a.tif", "a.jp2"])
def test_truncated(tmp_path: Path, name: str, length: float) -> None:
    path = tmp_path / name
    Image.effect_noise((90, 70), 90).convert("RGB").save(path)
    whole = path.read_bytes()
    verify_image(path)
    path.write_bytes(whole[: int(length if length > 1 else length * len(whole))])
    assert any(word in refusal_reason(path) for word in ("truncated", "damaged", "not a supported image"))


def test_truncation_is_seen_whatever_another_library_asked_for(
    image_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_file.write_bytes(image_file.read_bytes()[:900])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert "truncated" in refusal_reason(image_file)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"hello, I am a text", "is not a supported image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "is SVG"),
        (b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg/>', "is SVG"),
        (b"<!DOCTYPE html><html></html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "is a Git LFS pointer"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is PostScript"),
        (b"%PDF-1.7\n", "is a PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "is HEIC"),
        (b"\0" * 5000, "is not a supported image"),
        (b"PK\x03\x04" + b"\0" * 50, "is a zip archive"),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    assert refusal_reason(path).startswith(expected)


def test_a_image_with_the_wrong_ending_is_a_image(tmp_path: Path, image_file: Path) -> None:
    path = image_file.rename(tmp_path / "a.txt")
    assert probe_image(path).format == "JPEG"


def test_animations_give_their_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    for name in ("a.gif", "a.webp", "a.png", "a.tif"):
        path = tmp_path / name
        options: dict[str, Any] = {"lossless": True} if name == "a.webp" else {}
        frames[0].save(path, save_all=True, append_images=frames[1:], **options)
        assert probe_image(path).animated, name
        assert verify_image(path).animated, name
        assert open_image(path).getpixel((4, 4)) == (255, 0, 0), name


def test_messages_cannot_escape_into_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\n.png"
    path.write_bytes(b"x")
    with pytest.raises(ImageError) as caught:
        open_image(path)
    assert "\x1b" not in str(caught.value)
    assert "\n" not in caught.value.what


def test_memory_and_odd_errors_become_reasons(image_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, expected in ((MemoryError(), "memory"), (KeyError("x"), "damaged"), (RuntimeError(), "RuntimeError")):

        def fail(_image: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(images, "to_rgb", fail)
        with pytest.raises(ImageError, match=expected):
            open_image(image_file)


def test_importing_the_room_imports_neither_pillow_nor_numpy_nor_httpx() -> None:
    code = (
        "import sys, mg_tui.data.dataset, mg_tui.data.split, mg_tui.data.synthetic.vision_dataset, "
        "mg_tui.data.image_downloads, mg_tui.cli.datasets.create; "
        "print(sorted({'PIL','numpy','httpx','httpcore','torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
