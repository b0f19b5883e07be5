"""Small copies of images to put inside a page."""

import base64
import io
import warnings
from pathlib import Path
from typing import Final

from mg_tui.core.text import one_line

SIDE: Final = 320  # pixels
_QUALITY: Final = 72
_MAX_PIXELS: Final = 100_000_000
_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


class Thumbnails:
    """Makes each image once, until they have `budget` bytes together."""

    def __init__(self, budget: int):
        self._left = budget
        self._made: dict[str, tuple[str | None, str]] = {}

    def of(self, path: str) -> tuple[str | None, str]:
        """A data URI of the image, or None; and its name, with the reason where there is none."""
        if path not in self._made:
            self._made[path] = self._make(path)
        return self._made[path]

    def _make(self, path: str) -> tuple[str | None, str]:
        name = one_line(Path(path).name, limit=80)
        if self._left <= 0:
            return None, f"{name} (left out: the report has as many images as it may)"
        try:
            data = thumbnail(path)
        except Exception as error:  # whatever a damaged file makes a decoder raise
            return None, f"{name} (cannot be shown: {_reason(error)})"
        self._left -= len(data)
        return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}", name


def _reason(error: Exception) -> str:
    """Why, without the folders of this machine, which messages of errors have in them."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) if isinstance(error, _TooLarge) else "it is not readable as an image"


class _TooLarge(ValueError):
    """The image has too many pixels to be opened for a small copy."""


def thumbnail(path: str) -> bytes:
    """The image as a JPEG of at most 320 pixels a side, turned as its EXIF says, over white.

    Raises:
        OSError, ValueError, SyntaxError: it is missing, damaged, too large or no image.
    """
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise _TooLarge(f"it has {image.width} x {image.height} pixels")
            image.draft("RGB", (SIDE, SIDE))
            turned = ImageOps.exif_transpose(image)
            turned.thumbnail((SIDE, SIDE))
            if turned.mode not in ("RGB", "L"):
                layers = turned.convert("RGBA")
                turned = Image.new("RGB", layers.size, "white")
                turned.paste(layers, mask=layers.getchannel("A"))
            buffer = io.BytesIO()
            turned.convert("RGB").save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return buffer.getvalue()
