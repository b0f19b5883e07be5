"""Images embedded in rows: written once into the cache, named by their content hash, and used as files from then on.

Their bytes are not interpreted here; they are probed like every other image file.
"""

import base64
import binascii
import hashlib
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.data.image_downloads import MAX_BYTES
from mg_tui.data.image_types import image_extension
from mg_tui.data.images import ImageError
from mg_tui.data.row_problems import safe_line

# The same limit as for downloaded images.
MAX_EMBEDDED_IMAGE_BYTES: Final = MAX_BYTES

_DATA_URI: Final = re.compile(r"data:([^,;]*)((?:;[^,;]*)*),", re.IGNORECASE)
# Prefixes of base64 for JPEG, PNG, GIF, WebP, BMP and both kinds of TIFF; long paths do not start with them.
_BASE64_PREFIXES: Final = ("/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR", "Qk", "SUkq", "TU0AK")
_MIN_BASE64_LENGTH: Final = 128
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_\-\s]+={0,2}\s*")


class EmbeddedImage(NamedTuple):
    """An image embedded in a row: the cache file that holds it, and what the row calls it."""

    path: str
    original: str


ImageInput = str | EmbeddedImage


class EmbeddedImageStore:
    """The cache folder of embedded images. Safe to use from several threads and processes.

    Args:
        cache: the garden's cache folder; images go to `embedded-images/` in it. None refuses them.
    """

    def __init__(self, cache: Path | None):
        self._folder = cache / "embedded-images" if cache is not None else None

    def store(self, data: bytes, original: str) -> EmbeddedImage:
        """The file that holds `data`, written if it does not exist.

        Args:
            original: what the row calls the image, for messages.

        Raises:
            ImageError: it is empty or too large, or there is no cache folder.
            EnvironmentProblem: the cache cannot be written.
        """
        if not data:
            raise ImageError("is empty (0 bytes)")
        if len(data) > MAX_EMBEDDED_IMAGE_BYTES:
            raise ImageError(too_large_message(len(data)))
        if self._folder is None:
            raise ImageError("is embedded in the row, but there is no cache folder")
        name = hashlib.sha256(data).hexdigest() + image_extension(data)
        path = self._folder / name[:2] / name
        try:
            if not (path.is_file() and path.stat().st_size == len(data)):
                _write_atomically(path, data)
        except OSError as error:
            raise EnvironmentProblem(
                "cannot write an image to the cache", where=safe_line(str(path.parent)), why=error.strerror
            ) from None
        return EmbeddedImage(str(path), original)

    def store_text(self, text: str) -> EmbeddedImage | None:
        """The file of a data URI or of plain base64; None when the text is neither.

        Raises:
            ImageError: it is one of them and cannot be used.
            EnvironmentProblem: as `store`.
        """
        if text[:5].lower() == "data:":
            data, mime_type = decode_data_uri(text)
            return self.store(
                data, f"data URI ({safe_line(mime_type, limit=40) or 'no MIME type'}, {len(data):,} bytes)"
            )
        if is_base64_image(text):
            data = decode_base64(text)
            return self.store(data, f"base64 ({len(data):,} bytes)")
        return None


def is_base64_image(text: str) -> bool:
    """Whether a text is an image in plain base64, by its prefix and its alphabet."""
    long_enough = len(text) >= _MIN_BASE64_LENGTH and text.startswith(_BASE64_PREFIXES)
    return long_enough and _BASE64.fullmatch(text) is not None


def decode_data_uri(uri: str) -> tuple[bytes, str]:
    """The bytes of a data URI and the MIME type it declares.

    Raises:
        ImageError: it is malformed or larger than `MAX_EMBEDDED_IMAGE_BYTES`.
    """
    head = _DATA_URI.match(uri[:1000])
    if head is None:
        raise ImageError("is a data URI without a comma", hint="write data:image/png;base64,...")
    mime_type, flags = head[1], head[2].lower().split(";")
    if "base64" in flags:
        return decode_base64(uri[head.end() :]), mime_type
    if len(uri) > 3 * MAX_EMBEDDED_IMAGE_BYTES:
        raise ImageError(too_large_message(len(uri)))
    return unquote_to_bytes(uri[head.end() :]), mime_type


def decode_base64(text: str) -> bytes:
    """The bytes of base64, URL-safe or not, white space ignored.

    Raises:
        ImageError: it is not base64, or larger than `MAX_EMBEDDED_IMAGE_BYTES`; the size is checked before decoding.
    """
    if len(text) * 3 // 4 > MAX_EMBEDDED_IMAGE_BYTES + 1024:
        raise ImageError(too_large_message(len(text) * 3 // 4))
    cleaned = "".join(text.split())
    if "%" in cleaned:
        cleaned = unquote_to_bytes(cleaned).decode("ascii", "replace")
    cleaned = cleaned.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(cleaned + "=" * (-len(cleaned) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ImageError("is not valid base64") from None


def too_large_message(size: int) -> str:
    """Why an embedded image of `size` bytes is refused."""
    return f"has {size:,} bytes; the limit for embedded images is {MAX_EMBEDDED_IMAGE_BYTES:,}"


def _write_atomically(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
