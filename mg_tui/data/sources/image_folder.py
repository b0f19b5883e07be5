"""A folder of images as a source, with the text that belongs to them.

Three conventions are supported, tried in this order: a `metadata.csv` or `metadata.jsonl` whose `file_name` names an
image in its folder (`file_names` several), as the ImageFolder of `datasets` has it; a `.txt` caption beside each image;
and one folder per label. Symlinks to folders are not followed, which rules out loops.
"""

import os
from collections.abc import Iterator, Mapping
from itertools import dropwhile
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import DataError
from mg_tui.data.image_types import DATASET_IMAGE_EXTENSIONS
from mg_tui.data.jsonl import unreadable_error
from mg_tui.data.policy import ALLOW_ALL, ReadPolicy
from mg_tui.data.row_problems import RowProblem, safe_line
from mg_tui.data.rows import Row
from mg_tui.data.sources.base import FormatEvidence, Source
from mg_tui.data.sources.csv_table import CsvSource
from mg_tui.data.sources.json_lines import JsonLinesSource

METADATA_FILES: Final = ("metadata.jsonl", "metadata.csv")
_MAX_CAPTION_BYTES: Final = 2**20


class ImageFolderSource(Source):
    """The images of a folder and its subfolders, in the order of names. Rows are numbered from 1."""

    def __init__(self, name: str, path: Path, evidence: FormatEvidence, policy: ReadPolicy = ALLOW_ALL):
        super().__init__(name, "imagefolder", path, path, evidence)
        self._folder = path
        self._policy = policy

    def rows(self, start: int = 1) -> Iterator[Row]:
        """See `Source`."""
        return dropwhile(lambda row: row.number < start, self._rows())

    def _rows(self) -> Iterator[Row]:
        metadata = [path for path in self._walk() if path.name in METADATA_FILES]
        rows = self._rows_from_metadata(metadata) if metadata else self._rows_from_images()
        any_row = False
        for number, (values, problem) in enumerate(rows, 1):
            any_row = True
            yield Row(number, values, RowProblem(number, *problem) if problem else None)
        if not any_row:
            raise DataError("the folder contains no images", where=safe_line(str(self._folder)))

    def _walk(self) -> Iterator[Path]:
        return (path for path in walk_files(self._folder) if self._policy.allows(path))

    def _rows_from_metadata(self, files: list[Path]) -> Iterator["_FolderRow"]:
        for file in files:
            source_class = JsonLinesSource if file.suffix == ".jsonl" else CsvSource
            table = source_class(str(file), file, FormatEvidence("sure", ""))
            folder = file.parent.relative_to(self._folder)
            for row in table.rows():
                if row.values is None:
                    problem = row.problem
                    yield None, (problem.field, problem.what, problem.hint, problem.raw) if problem else None
                else:
                    yield _resolve_file_names(row.values, folder), None

    def _rows_from_images(self) -> Iterator["_FolderRow"]:
        for path in self._walk():
            if path.suffix.lower() not in DATASET_IMAGE_EXTENSIONS:
                continue
            relative = path.relative_to(self._folder)
            values: dict[str, Any] = {"image": relative.as_posix()}
            caption = path.with_suffix(".txt")
            if caption.is_file() and self._policy.allows(caption):
                text = read_caption(caption)
                if text is None:
                    yield None, (None, f"{safe_line(caption.name, limit=80)} is not UTF-8 text", None, str(relative))
                    continue
                values["text"] = text
            elif len(relative.parts) > 1:
                values["label"] = relative.parts[-2]
            yield values, None


_FolderRow = tuple[dict[str, Any] | None, tuple[str | None, str, str | None, str] | None]


def walk_files(folder: Path) -> Iterator[Path]:
    """Every file in a folder and its subfolders in the order of names; hidden ones are skipped, symlinks to folders are
    not followed.

    Raises:
        DataError: a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise unreadable_error(Path(error.filename or folder), error) from None

    for parent, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(parent) / name


def _resolve_file_names(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A row of metadata with its image names relative to the folder of the dataset."""
    resolved: dict[str, Any] = {}
    for name, value in values.items():
        if name in ("file_name", "file_names") or name.endswith(("_file_name", "_file_names")):
            plural = name.endswith("s")
            stem = name.removesuffix("_file_names").removesuffix("_file_name")
            own = stem if stem != name else ("images" if plural else "image")
            resolved[own] = (
                [_join_folder(item, folder) for item in value]
                if isinstance(value, list)
                else _join_folder(value, folder)
            )
        else:
            resolved[name] = value
    return resolved


def _join_folder(value: Any, folder: Path) -> Any:
    return (folder / value).as_posix() if isinstance(value, str) and value and "\0" not in value else value


def read_caption(file: Path) -> str | None:
    """The text of a caption file, at most 1 MiB of it; None when it cannot be read or is not UTF-8."""
    try:
        with file.open("rb") as opened:
            return opened.read(_MAX_CAPTION_BYTES).decode("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError):
        return None
