"""A folder of pictures as a source, with the words that lie beside them.

Three ways are known, looked for in this order: a `metadata.csv` or `metadata.jsonl` whose `file_name` names a picture
in its folder (`file_names` several), as ImageFolder of `datasets` has it; a `.txt` beside each picture; and folders
named after what is on their pictures. Links to folders are not followed, so that a loop of them ends.
"""

import os
from collections.abc import Iterator, Mapping
from itertools import dropwhile
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import DataError
from mg_tui.data.jsonl import unreadable
from mg_tui.data.policy import ANYWHERE, ReadPolicy
from mg_tui.data.problems import RowProblem, plain
from mg_tui.data.rows import Row
from mg_tui.data.sources.base import Source, Told
from mg_tui.data.sources.lines import JsonLines
from mg_tui.data.sources.shards import PICTURES
from mg_tui.data.sources.table import Table

METADATA: Final = ("metadata.jsonl", "metadata.csv")
_LONGEST_CAPTION: Final = 2**20


class PictureFolder(Source):
    """A folder and what is below it, in the order of names. Rows are counted from 1."""

    def __init__(self, name: str, path: Path, told: Told, policy: ReadPolicy = ANYWHERE):
        super().__init__(name, "imagefolder", path, path, told)
        self._folder = path
        self._policy = policy

    def rows(self, start: int = 1) -> Iterator[Row]:
        """See `Source`."""
        return dropwhile(lambda row: row.number < start, self._rows())

    def _rows(self) -> Iterator[Row]:
        described = [path for path in self._walk() if path.name in METADATA]
        found = self._described(described) if described else self._pictures()
        any_row = False
        for number, (values, problem) in enumerate(found, 1):
            any_row = True
            yield Row(number, values, RowProblem(number, *problem) if problem else None)
        if not any_row:
            raise DataError("the folder has no pictures", where=plain(str(self._folder)))

    def _walk(self) -> Iterator[Path]:
        return (path for path in walk(self._folder) if self._policy.allows(path))

    def _described(self, files: list[Path]) -> Iterator["_Found"]:
        for file in files:
            told = Told("sure", "")
            inner = JsonLines(str(file), file, told) if file.suffix == ".jsonl" else Table(str(file), file, told)
            folder = file.parent.relative_to(self._folder)
            for row in inner.rows():
                if row.values is None:
                    problem = row.problem
                    yield None, (problem.field, problem.what, problem.hint, problem.raw) if problem else None
                else:
                    yield _placed(row.values, folder), None

    def _pictures(self) -> Iterator["_Found"]:
        for path in self._walk():
            if path.suffix[1:].lower() not in PICTURES:
                continue
            here = path.relative_to(self._folder)
            values: dict[str, Any] = {"image": here.as_posix()}
            caption = path.with_suffix(".txt")
            if caption.is_file() and self._policy.allows(caption):
                words = _words(caption)
                if words is None:
                    yield None, (None, f"{plain(caption.name, limit=80)} is not UTF-8 text", None, str(here))
                    continue
                values["text"] = words
            elif len(here.parts) > 1:
                values["label"] = here.parts[-2]
            yield values, None


_Found = tuple[dict[str, Any] | None, tuple[str | None, str, str | None, str] | None]


def walk(folder: Path) -> Iterator[Path]:
    """Every file in a folder and below it in the order of names, without hidden ones and without following links to
    folders.

    Raises:
        DataError: a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise unreadable(Path(error.filename or folder), error) from None

    for here, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(here) / name


def _placed(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A row of metadata with its pictures' names seen from the folder of the dataset."""
    placed: dict[str, Any] = {}
    for name, value in values.items():
        if name in ("file_name", "file_names") or name.endswith(("_file_name", "_file_names")):
            plural = name.endswith("s")
            stem = name.removesuffix("_file_names").removesuffix("_file_name")
            own = stem if stem != name else ("images" if plural else "image")
            placed[own] = [_seen(item, folder) for item in value] if isinstance(value, list) else _seen(value, folder)
        else:
            placed[name] = value
    return placed


def _seen(value: Any, folder: Path) -> Any:
    return (folder / value).as_posix() if isinstance(value, str) and value and "\0" not in value else value


def _words(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            return opened.read(_LONGEST_CAPTION).decode("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError):
        return None
