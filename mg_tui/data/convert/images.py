"""Images of a dataset that is written: referred to where they are, copied beside it, or put into its rows."""

import base64
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from mg_tui.data.embedded_images import EmbeddedImage, ImageInput
from mg_tui.data.image_resolver import ImageResolver, is_url

ImageMode = Literal["auto", "link", "copy", "embed"]

_SAFE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}")
_IMAGE_TYPES: Final[tuple[tuple[bytes, str, str], ...]] = (
    (b"\xff\xd8\xff", ".jpg", "image/jpeg"),
    (b"\x89PNG", ".png", "image/png"),
    (b"GIF8", ".gif", "image/gif"),
    (b"RIFF", ".webp", "image/webp"),
    (b"BM", ".bmp", "image/bmp"),
    (b"II*\x00", ".tif", "image/tiff"),
    (b"MM\x00*", ".tif", "image/tiff"),
)


class ImageExporter:
    """Makes what a row says of an image.

    Args:
        mode: "auto" refers to files and addresses, and copies what came out of rows.
        resolver: finds images.
        beside: the folder that the dataset will be in.
        workshop: the folder that copies are made in.
        name: what that folder will be called beside the dataset; "" where the dataset is that folder.
    """

    def __init__(self, mode: ImageMode, resolver: ImageResolver, beside: Path, workshop: Path, name: str):
        self.mode = mode
        self._resolver = resolver
        self._beside = Path(os.path.realpath(beside))
        self._workshop = workshop
        self._name = name
        self._copied: dict[str, str] = {}
        self._taken: set[str] = set()

    @property
    def copied_count(self) -> int:
        """How many images were copied."""
        return len(self._copied)

    def require_exists(self, given: ImageInput) -> None:
        """See that an image is there, as far as this mode needs it.

        Raises:
            ImageError: it is not.
        """
        if not (self.mode in ("auto", "link") and isinstance(given, str) and is_url(given)):
            self._resolver.locate(given)

    def reference(self, given: ImageInput) -> str:
        """The text that names an image in a row of a text file.

        Raises:
            ImageError: it is not there.
            OSError: it cannot be copied.
        """
        if self.mode == "embed":
            data, _name = self.read_bytes(given)
            kind = next(
                (kind for magic, _ending, kind in _IMAGE_TYPES if data.startswith(magic)), "application/octet-stream"
            )
            return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
        if self.mode == "copy" or isinstance(given, EmbeddedImage):
            return self.copy(given)
        if is_url(given):
            return given
        real = Path(os.path.realpath(self._resolver.locate(given).ref.path))
        return real.relative_to(self._beside).as_posix() if real.is_relative_to(self._beside) else str(real)

    def read_bytes(self, given: ImageInput) -> tuple[bytes, str]:
        """An image's bytes and a name for it; raises as `reference`."""
        path = Path(self._resolver.locate(given).ref.path)
        data = path.read_bytes()
        name = path.name if isinstance(given, str) and not is_url(given) else _safe_file_name(given)
        return data, name if Path(name).suffix else name + image_extension(data)

    def copy(self, given: ImageInput, *, link: bool = False) -> str:
        """Put an image into the folder, once, and say its path from the dataset; raises as `reference`."""
        source = self._resolver.locate(given).ref.path
        name = self._copied.get(source)
        if name is None:
            name = self._new_name(given, Path(source))
            self._workshop.mkdir(parents=True, exist_ok=True)
            if link:
                (self._workshop / name).symlink_to(os.path.realpath(source))
            else:
                shutil.copyfile(source, self._workshop / name)
            self._copied[source] = name
        return f"{self._name}/{name}" if self._name else name

    def _new_name(self, given: ImageInput, source: Path) -> str:
        with source.open("rb") as file:
            ending = image_extension(file.read(16)) or source.suffix.lower()
        name = _safe_file_name(given)
        stem, own = (name, "") if "." not in name else name.rsplit(".", 1)
        name = f"{stem}.{own}" if own else stem + ending
        if name.lower() in self._taken or name in ("", ending):
            name = f"{len(self._copied) + 1:06d}-{stem}{f'.{own}' if own else ending}"
        self._taken.add(name.lower())
        return name


def embedded_value(content: tuple[bytes, str]) -> Mapping[str, Any]:
    """An image as Hugging Face's `Image` keeps it."""
    return {"bytes": content[0], "path": content[1]}


def image_extension(data: bytes) -> str:
    """The ending of an image's name by its first bytes; empty when they are no image's."""
    return next((ending for magic, ending, _kind in _IMAGE_TYPES if data.startswith(magic)), "")


def _safe_file_name(given: ImageInput) -> str:
    """The last part of what an image was called, where that can be a file's name; else a number will be put to it."""
    text = given.original if isinstance(given, EmbeddedImage) else given
    name = text.replace("\\", "/").rsplit("/", 1)[-1].partition("?")[0]
    return name if _SAFE_NAME.fullmatch(name) and "." in name else "image"
