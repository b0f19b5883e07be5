"""A folder of images as a source, with the words that lie beside them.

Three ways are known, looked for in this order: a `metadata.csv` or `metadata.jsonl` whose `file_name` names an image
in its folder (`file_names` several), as ImageFolder of `datasets` has it; a `.txt` beside each image; and folders
named after what is on their images. Links to folders are not followed, so that a loop of them ends.
"""

import os
from collections.abc import Iterator, Mapping
from itertools import dropwhile
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import DataError
from mg_tui.data.jsonl import unreadable_error
from mg_tui.data.policy import ALLOW_ALL, ReadPolicy
from mg_tui.data.row_problems import RowProblem, safe_line
from mg_tui.data.rows import Row
from mg_tui.data.sources.base import FormatEvidence, Source
from mg_tui.data.sources.csv_table import CsvSource
from mg_tui.data.sources.json_lines import JsonLinesSource
from mg_tui.data.sources.webdataset import IMAGE_EXTENSIONS

METADATA_FILES: Final = ("metadata.jsonl", "metadata.csv")
_MAX_CAPTION_BYTES: Final = 2**20


class ImageFolderSource(Source):
    """A folder and what is below it, in the order of names. Rows are counted from 1."""

    def __init__(self, name: str, path: Path, told: FormatEvidence, policy: ReadPolicy = ALLOW_ALL):
        super().__init__(name, "imagefolder", path, path, told)
        self._folder = path
        self._policy = policy

    def rows(self, start: int = 1) -> Iterator[Row]:
        """See `Source`."""
        return dropwhile(lambda row: row.number < start, self._rows())

    def _rows(self) -> Iterator[Row]:
        described = [path for path in self._walk() if path.name in METADATA_FILES]
        found = self._rows_from_metadata(described) if described else self._rows_from_images()
        any_row = False
        for number, (values, problem) in enumerate(found, 1):
            any_row = True
            yield Row(number, values, RowProblem(number, *problem) if problem else None)
        if not any_row:
            raise DataError("the folder contains no images", where=safe_line(str(self._folder)))

    def _walk(self) -> Iterator[Path]:
        return (path for path in walk_files(self._folder) if self._policy.allows(path))

    def _rows_from_metadata(self, files: list[Path]) -> Iterator["_FolderRow"]:
        for file in files:
            told = FormatEvidence("sure", "")
            inner = (
                JsonLinesSource(str(file), file, told) if file.suffix == ".jsonl" else CsvSource(str(file), file, told)
            )
            folder = file.parent.relative_to(self._folder)
            for row in inner.rows():
                if row.values is None:
                    problem = row.problem
                    yield None, (problem.field, problem.what, problem.hint, problem.raw) if problem else None
                else:
                    yield _resolve_file_names(row.values, folder), None

    def _rows_from_images(self) -> Iterator["_FolderRow"]:
        for path in self._walk():
            if path.suffix[1:].lower() not in IMAGE_EXTENSIONS:
                continue
            here = path.relative_to(self._folder)
            values: dict[str, Any] = {"image": here.as_posix()}
            caption = path.with_suffix(".txt")
            if caption.is_file() and self._policy.allows(caption):
                words = _read_caption(caption)
                if words is None:
                    yield None, (None, f"{safe_line(caption.name, limit=80)} is not UTF-8 text", None, str(here))
                    continue
                values["text"] = words
            elif len(here.parts) > 1:
                values["label"] = here.parts[-2]
            yield values, None


_FolderRow = tuple[dict[str, Any] | None, tuple[str | None, str, str | None, str] | None]


def walk_files(folder: Path) -> Iterator[Path]:
    """Every file in a folder and below it in the order of names, without hidden ones and without following links to
    folders.

    Raises:
        DataError: a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise unreadable_error(Path(error.filename or folder), error) from None

    for here, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(here) / name


def _resolve_file_names(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A row of metadata with its images' names seen from the folder of the dataset."""
    placed: dict[str, Any] = {}
    for name, value in values.items():
        if name in ("file_name", "file_names") or name.endswith(("_file_name", "_file_names")):
            plural = name.endswith("s")
            stem = name.removesuffix("_file_names").removesuffix("_file_name")
            own = stem if stem != name else ("images" if plural else "image")
            placed[own] = (
                [_join_folder(item, folder) for item in value]
                if isinstance(value, list)
                else _join_folder(value, folder)
            )
        else:
            placed[name] = value
    return placed


def _join_folder(value: Any, folder: Path) -> Any:
    return (folder / value).as_posix() if isinstance(value, str) and value and "\0" not in value else value


def _read_caption(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            return opened.read(_MAX_CAPTION_BYTES).decode("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError):
        return None
