"""A dataset from a folder of images: one row per image, with the caption from the text file beside it.

cat.jpg, cat.txt -> {"text": "Describe this image.", "image": "photos/cat.jpg", "response": "<text of cat.txt>"}
dog.jpg          -> the same with an empty response: the check lists the rows that still need an answer
"""

import json
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
from mg_tui.data.image_types import SUPPORTED_EXTENSIONS
from mg_tui.data.row_problems import safe_line
from mg_tui.data.sources.image_folder import read_caption, walk_files

_DEFAULT_PROMPT: Final = FieldMap().caption_prompt
_MAX_CAPTION_BYTES: Final = 100_000
_MAX_REASONS: Final = 100


@dataclass(frozen=True, slots=True)
class FolderDataset:
    """The written dataset.

    Attributes:
        dataset: its file.
        examples: its rows; `captioned` of them have a caption.
        rejected: files with an image's extension that are not usable images.
        reasons: the first 100 of them, each with the reason.
    """

    dataset: Path
    examples: int
    captioned: int
    rejected: int
    reasons: tuple[str, ...]


def create_from_folder(
    folder: Path, output: Path, *, prompt: str = _DEFAULT_PROMPT, force: bool = False
) -> FolderDataset:
    """Write a row for every image in a folder and its subfolders, in the order of their names.

    Raises:
        UsageError: the folder does not exist or has no images, or `output` exists.
        DataError: a subfolder cannot be read.
        EnvironmentProblem: the file cannot be written.
    """
    folder = expand_user(folder).absolute()
    if not folder.is_dir():
        raise UsageError("the image folder does not exist", where=safe_line(str(folder)))
    if not prompt.strip():
        raise UsageError("the prompt is empty", hint=f'e.g. --prompt "{_DEFAULT_PROMPT}"')
    files = [str(path) for path in _find_image_files(folder)]
    outcomes = probe_images(files, ImageResolver(folder), "header")
    good = [path for path in files if isinstance(outcomes[path], ImageProbe)]
    if not good:
        extensions = ", ".join(sorted(SUPPORTED_EXTENSIONS))
        raise UsageError("the folder contains no images", where=safe_line(str(folder)), why=f"looked for {extensions}")
    reasons = [
        f"{safe_line(path)} {outcome.reason}" for path in files if not isinstance(outcome := outcomes[path], ImageProbe)
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
    """Files with an image's extension and a name that can be written to a dataset."""
    for path in walk_files(folder):
        if path.suffix.lower() in SUPPORTED_EXTENSIONS and _is_utf8_name(path.name):
            yield path


def _is_utf8_name(name: str) -> bool:
    """Whether a file's name can be encoded as UTF-8."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _read_caption(image: Path) -> str:
    file = image.with_suffix(".txt")
    try:
        if not file.is_file() or file.stat().st_size > _MAX_CAPTION_BYTES:
            return ""
    except OSError:
        return ""
    return read_caption(file) or ""


def _path_for_row(image: Path, folder: Path) -> str:
    return image.relative_to(folder).as_posix() if image.is_relative_to(folder) else str(image)
