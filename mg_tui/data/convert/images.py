"""Images of a converted dataset: referenced where they are, copied beside it, or embedded in its rows."""

import base64
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from mg_tui.data.embedded_images import EmbeddedImage, ImageInput
from mg_tui.data.image_resolver import ImageResolver, is_url
from mg_tui.data.image_types import image_extension, image_mime_type

ImageMode = Literal["auto", "link", "copy", "embed"]

_SAFE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}")


class ImageExporter:
    """Writes the images of rows, or the references to them.

    Args:
        mode: "auto" references files and URLs, and copies embedded images.
        resolver: resolves the images of the source.
        dataset_folder: the folder that the new dataset will be in.
        staging: the folder that copies are written to.
        name: the final name of that folder beside the dataset; "" where the dataset itself is that folder.
    """

    def __init__(self, mode: ImageMode, resolver: ImageResolver, dataset_folder: Path, staging: Path, name: str):
        self.mode = mode
        self._resolver = resolver
        self._dataset_folder = Path(os.path.realpath(dataset_folder))
        self._staging = staging
        self._name = name
        self._copied: dict[str, str] = {}
        self._used_names: set[str] = set()

    @property
    def copied_count(self) -> int:
        """Number of copied images."""
        return len(self._copied)

    def require_exists(self, image: ImageInput) -> None:
        """Require that an image exists, where this mode reads it.

        Raises:
            ImageError: it does not.
        """
        if not (self.mode in ("auto", "link") and isinstance(image, str) and is_url(image)):
            self._resolver.resolve(image)

    def reference(self, image: ImageInput) -> str:
        """The text that names an image in a row of a text file.

        Raises:
            ImageError: it does not exist.
            OSError: it cannot be copied.
        """
        if self.mode == "embed":
            data, _name = self.read_bytes(image)
            return f"data:{image_mime_type(data)};base64,{base64.b64encode(data).decode('ascii')}"
        if self.mode == "copy" or isinstance(image, EmbeddedImage):
            return self.copy(image)
        if is_url(image):
            return image
        real = Path(os.path.realpath(self._resolver.resolve(image).ref.path))
        return (
            real.relative_to(self._dataset_folder).as_posix()
            if real.is_relative_to(self._dataset_folder)
            else str(real)
        )

    def read_bytes(self, image: ImageInput) -> tuple[bytes, str]:
        """An image's bytes and a file name for it; raises as `reference`."""
        path = Path(self._resolver.resolve(image).ref.path)
        data = path.read_bytes()
        name = path.name if isinstance(image, str) and not is_url(image) else _safe_file_name(image)
        return data, name if Path(name).suffix else name + image_extension(data)

    def copy(self, image: ImageInput, *, link: bool = False) -> str:
        """Copy or symlink an image into the folder once; its path relative to the dataset. Raises as `reference`."""
        source = self._resolver.resolve(image).ref.path
        name = self._copied.get(source)
        if name is None:
            name = self._new_name(image, Path(source))
            self._staging.mkdir(parents=True, exist_ok=True)
            if link:
                (self._staging / name).symlink_to(os.path.realpath(source))
            else:
                shutil.copyfile(source, self._staging / name)
            self._copied[source] = name
        return f"{self._name}/{name}" if self._name else name

    def _new_name(self, image: ImageInput, source: Path) -> str:
        with source.open("rb") as file:
            detected = image_extension(file.read(16)) or source.suffix.lower()
        name = _safe_file_name(image)
        stem, own = name.rsplit(".", 1) if "." in name else (name, "")
        extension = f".{own}" if own else detected
        name = stem + extension
        if name.lower() in self._used_names or name in ("", detected):
            name = f"{len(self._copied) + 1:06d}-{stem}{extension}"
        self._used_names.add(name.lower())
        return name


def embedded_value(content: tuple[bytes, str]) -> Mapping[str, Any]:
    """An image as the `Image` feature of `datasets` stores it."""
    return {"bytes": content[0], "path": content[1]}


def _safe_file_name(image: ImageInput) -> str:
    """The last part of an image's name in the dataset if it is a safe file name, else "image"."""
    text = image.original if isinstance(image, EmbeddedImage) else image
    name = text.replace("\\", "/").rsplit("/", 1)[-1].partition("?")[0]
    return name if _SAFE_NAME.fullmatch(name) and "." in name else "image"
