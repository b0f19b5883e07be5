"""An image as a data URI: what a server that opens it sees is what `open_image` gives."""

import base64
import functools
import io
from pathlib import Path
from typing import Final

from mg_tui.data.images import open_image, probe_image

# Formats that every server opens. Others are sent as PNG, and so is what has to be turned or flattened first.
_SENT_AS_IS: Final = {"JPEG": "image/jpeg", "PNG": "image/png"}


@functools.lru_cache(maxsize=32)
def image_data_uri(path: str) -> str:
    """The image of a file as a data URI. Rows that share an image follow each other, so a few are kept.

    Raises:
        ImageError: it cannot be read.
    """
    info = probe_image(path)
    if info.format in _SENT_AS_IS and info.mode == "RGB" and not info.animated and not _is_rotated(path):
        return _uri(_SENT_AS_IS[info.format], Path(path).read_bytes())
    buffer = io.BytesIO()
    open_image(path).save(buffer, "PNG")
    return _uri("image/png", buffer.getvalue())


def _is_rotated(path: str) -> bool:
    from PIL import Image

    from mg_tui.data.pixels import orientation

    with Image.open(path) as image:
        return orientation(image) != 1


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
