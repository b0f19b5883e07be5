"""Makers of files, good and hostile, for the tests of the data room."""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Rows = Callable[..., Path]


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of under a hundred bytes whose header claims any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0" * 16)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.fixture
def bomb(tmp_path: Path) -> Path:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_claiming(60_000, 60_000))
    return path


@pytest.fixture
def image_file(tmp_path: Path) -> Path:
    """A noisy JPEG of 64 x 48 pixels, called a.jpg."""
    path = tmp_path / "a.jpg"
    Image.effect_noise((64, 48), 80).convert("RGB").save(path, quality=90)
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    """Writes rows (objects, or lines as text or bytes) to data.jsonl."""

    def write(*items: Any, name: str = "data.jsonl") -> Path:
        lines = [
            item if isinstance(item, bytes) else item.encode() if isinstance(item, str) else json.dumps(item).encode()
            for item in items
        ]
        path = tmp_path / name
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path

    return write
