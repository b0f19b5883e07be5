"""A folder of images as a source, with the text that belongs to them.

Three conventions are supported, tried in this order: a `metadata.csv` or `metadata.jsonl` whose `file_name` names an
image in its folder (`file_names` several), as the ImageFolder of `datasets` has it; a `.txt` caption beside each image;
and one folder per label. Symlinks to folders are not followed, which rules out loops.
"""

import os
import re
from collections.abc import Iterator, Mapping
from itertools import dropwhile, islice
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import DataError
from mg_tui.data.image_types import DATASET_IMAGE_EXTENSIONS, media_kind
from mg_tui.data.jsonl import unreadable_error
from mg_tui.data.policy import ALLOW_ALL, ReadPolicy
from mg_tui.data.row_problems import RowProblem, safe_line
from mg_tui.data.rows import Row
from mg_tui.data.sources.base import FormatEvidence, Source
from mg_tui.data.sources.csv_table import CsvSource
from mg_tui.data.sources.json_lines import JsonLinesSource

METADATA_FILES: Final = ("metadata.jsonl", "metadata.csv")
_DESCRIPTION_EXTENSIONS: Final = frozenset(".jsonl .ndjson .json .csv .tsv .parquet .xml .yaml .yml .txt".split())
_NOT_DESCRIPTIONS: Final = re.compile(r"readme|licen[sc]e|requirements|notice|changelog", re.IGNORECASE)
# Names of folders that say that images are in them, or which split they are of: these are not classes.
_NOT_CLASSES: Final = re.compile(
    r"(?:(?:train|training|val|valid|validation|dev|test|eval)\d*[-_ ]?)?"
    r"(?:images?|imgs?|pictures?|photos?|jpe?gs?|pngs?|jpegimages|files|data)?",
    re.IGNORECASE,
)
_BOX_NUMBER: Final = re.compile(r"-?[0-9]*\.?[0-9]+(?:e-?[0-9]+)?", re.IGNORECASE)
_MAX_FILES_SCANNED: Final = 2_000
_MAX_FOLDER_DEPTH: Final = 100
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
                if (media := media_kind(path.suffix)) is not None:
                    name = path.relative_to(self._folder).as_posix()
                    what = "a video" if media == "video" else "audio"
                    hint = "move it out of the folder, or skip its rows with --on-bad-row skip"
                    yield None, (None, f"{safe_line(name, limit=80)} is {what}, which is not supported", hint, name)
                continue
            relative = path.relative_to(self._folder)
            values: dict[str, Any] = {"image": relative.as_posix()}
            caption = path.with_suffix(".txt")
            if caption.is_file() and self._policy.allows(caption):
                text = read_caption(caption)
                if text is None:
                    yield None, (None, f"{safe_line(caption.name, limit=80)} is not UTF-8 text", None, str(relative))
                    continue
                if _is_boxes(text):
                    what = f"{safe_line(caption.name, limit=80)} has boxes (YOLO), not a caption"
                    yield None, (None, what, "write the boxes into answers", str(relative))
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

    for parent, files in _walk_folders(folder):
        for name in files:
            yield parent / name


def _walk_folders(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder below `folder`, itself first, with the names of its files in order.

    Raises:
        DataError: a folder cannot be read, or is nested too deeply.
    """
    stack = [(folder, 0)]
    while stack:
        parent, depth = stack.pop()
        if depth > _MAX_FOLDER_DEPTH:
            what = f"folders are nested deeper than {_MAX_FOLDER_DEPTH} levels"
            raise DataError(what, where=safe_line(str(folder)))
        try:
            with os.scandir(parent) as entries:
                candidates = sorted((e.name, e.is_dir(), e.is_symlink()) for e in entries if not e.name.startswith("."))
        except OSError as error:
            raise unreadable_error(Path(error.filename or parent), error) from None
        yield parent, [name for name, is_folder, _link in candidates if not is_folder]
        folders = [parent / name for name, is_folder, link in candidates if is_folder and not link]
        stack += [(path, depth + 1) for path in reversed(folders)]


def require_class_folders(folder: Path, root: Path) -> None:
    """Raises DataError when the images of a folder without metadata and captions are not in one folder per class.

    A description beside the images is what was meant; one folder is no classification. `root` is the dataset, of which
    `folder` may be a split.
    """
    if description := _find_description(root):
        raise DataError(
            "the folder has a description beside its images, so the names of its folders are not answers",
            where=safe_line(str(root)),
            hint=f"give the file: {safe_line(description.relative_to(root).as_posix(), limit=120)}; "
            "or take folders as answers with --dataset-format imagefolder",
        )
    names = set(islice(_class_names(folder), 64))
    if not names:
        return
    hint = "give a file that describes the images, or take folders as answers with --dataset-format imagefolder"
    listed = ", ".join(safe_line(name, limit=40) for name in sorted(names)[:3])
    if len(names) == 1:
        what = f"all images are in only one folder, {listed}, which would be the answer of every row"
    elif all(_NOT_CLASSES.fullmatch(name) for name in names):
        what = f"the folders are {listed}, which are not names of classes"
    else:
        return
    raise DataError(what, where=safe_line(str(folder)), hint=hint)


def _find_description(folder: Path) -> Path | None:
    """A file that may describe the images: the first by depth and name, captions of single images left out."""
    candidates: list[Path] = []
    for path in islice(walk_files(folder), _MAX_FILES_SCANNED):
        if path.suffix.lower() not in _DESCRIPTION_EXTENSIONS or _NOT_DESCRIPTIONS.match(path.name):
            continue
        if path.suffix.lower() == ".txt" and any(path.with_suffix(e).exists() for e in DATASET_IMAGE_EXTENSIONS):
            continue
        candidates.append(path)
    return min(candidates, key=lambda path: (len(path.parts), path.name), default=None)


def _class_names(folder: Path) -> Iterator[str]:
    """Names of the folders with images that have no caption beside them; one for each such folder."""
    for parent, files in _walk_folders(folder):
        texts = {Path(name).stem for name in files if name.endswith(".txt")}
        if parent != folder and any(
            Path(name).suffix.lower() in DATASET_IMAGE_EXTENSIONS and Path(name).stem not in texts for name in files
        ):
            yield parent.name


def _is_boxes(text: str) -> bool:
    """Whether every line is a class number and at least four coordinates, as YOLO writes boxes."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    return bool(lines) and all(
        len(words) >= 5 and words[0].isdecimal() and all(_BOX_NUMBER.fullmatch(word) for word in words)
        for words in lines
    )


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
        if not file.is_file():
            return None
        with file.open("rb") as opened:
            return opened.read(_MAX_CAPTION_BYTES).decode("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError):
        return None
