"""A dataset to fill in, out of a folder of images: a row for each, with the caption that a text file beside it has.

cat.jpg, cat.txt -> {"text": "Describe this image.", "image": "photos/cat.jpg", "response": "<text of cat.txt>"}
dog.jpg          -> the same with an empty response: the check names the rows that are still to be answered
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mg_tui.core.errors import UsageError
from mg_tui.core.paths import expand_user
from mg_tui.data.dataset_writer import DatasetWriter
from mg_tui.data.field_map import FieldMap
from mg_tui.data.image_probe import ImageProbe, probe_images
from mg_tui.data.image_resolver import ImageResolver
from mg_tui.data.row_problems import safe_line

IMAGE_EXTENSIONS: Final = frozenset(".jpg .jpeg .jfif .png .webp .gif .bmp .tif .tiff .jp2 .avif .ppm .pgm".split())
_DEFAULT_PROMPT: Final = FieldMap().caption_prompt
_MAX_CAPTION_BYTES: Final = 100_000  # bytes
_MAX_REASONS: Final = 100


@dataclass(frozen=True, slots=True)
class FolderDataset:
    """What was written: the file, its rows, those of them that have a caption, and the files that are no images, each
    with the reason (the first hundred of `refused`)."""

    dataset: Path
    examples: int
    captioned: int
    rejected: int
    reasons: tuple[str, ...]


def create_from_folder(
    folder: Path, output: Path, *, prompt: str = _DEFAULT_PROMPT, force: bool = False
) -> FolderDataset:
    """Write a row for every image in a folder and the folders in it, in the order of their names.

    Raises:
        UsageError: the folder is none, has no images, or something is in the way of `output`.
        EnvironmentProblem: the file cannot be written.
    """
    folder = expand_user(folder).absolute()
    if not folder.is_dir():
        raise UsageError("the image folder does not exist", where=safe_line(str(folder)))
    if not prompt.strip():
        raise UsageError("the prompt is empty", hint=f'e.g. --prompt "{_DEFAULT_PROMPT}"')
    files = [str(path) for path in _find_image_files(folder)]
    looked = probe_images(files, ImageResolver(folder), "header")
    good = [path for path in files if isinstance(looked[path], ImageProbe)]
    if not good:
        endings = ", ".join(sorted(IMAGE_EXTENSIONS))
        raise UsageError("the folder contains no images", where=safe_line(str(folder)), why=f"looked for {endings}")
    reasons = [
        f"{safe_line(path)} {outcome.reason}" for path in files if not isinstance(outcome := looked[path], ImageProbe)
    ]
    captioned = 0
    with DatasetWriter(output, force=force) as new:
        for path in good:
            caption = _read_caption(Path(path))
            captioned += bool(caption)
            row = {"text": prompt, "image": _path_for_row(Path(path), new.path.parent), "response": caption}
            new.write_line(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace"))
    return FolderDataset(new.path, len(good), captioned, len(reasons), tuple(reasons[:_MAX_REASONS]))


def _find_image_files(folder: Path) -> Iterator[Path]:
    """Files that are called like images; links to folders are not followed, so that no loop is entered."""
    for here, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            if Path(name).suffix.lower() in IMAGE_EXTENSIONS and not name.startswith(".") and _is_utf8_name(name):
                yield Path(here) / name


def _is_utf8_name(name: str) -> bool:
    """Whether a file's name can be written into a dataset."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _read_caption(image: Path) -> str:
    beside = image.with_suffix(".txt")
    try:
        if not beside.is_file() or beside.stat().st_size > _MAX_CAPTION_BYTES:
            return ""
        return beside.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _path_for_row(image: Path, start: Path) -> str:
    return image.relative_to(start).as_posix() if image.is_relative_to(start) else str(image)
