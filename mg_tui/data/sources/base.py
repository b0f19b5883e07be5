"""The base class of sources of rows, and what is detected of their format.

A source yields rows in order, in the memory of one row or one batch, any number of times. Values are JSON values, and
images as bytes: `{"bytes": b"...", "path": "name in the archive" or None}`, as the `Image` feature of `datasets` stores
them.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from mg_tui.data.field_map import FieldMap
from mg_tui.data.row_problems import safe_line
from mg_tui.data.rows import Row

Certainty = Literal["sure", "likely", "guess"]

# Titles of the formats.
FORMATS: Final[Mapping[str, str]] = {
    "jsonl": "JSON Lines",
    "json": "JSON array",
    "csv": "CSV or TSV",
    "parquet": "Parquet",
    "arrow": "Arrow",
    "saved": "saved `datasets` folder",
    "imagefolder": "image folder",
    "webdataset": "WebDataset shards",
    "hub": "Hugging Face Hub dataset",
}

_MAX_LISTED_COLUMNS: Final = 20


@dataclass(frozen=True, slots=True)
class DetectedFormat:
    """The format, layout and fields of a dataset.

    Attributes:
        format: a key of `FORMATS`.
        layout: a key of `mg_tui.data.sources.layouts.LAYOUTS`.
        certainty: of both together.
        why: the evidence in a sentence or two, safe to print.
        fields: which field holds what, as far as it was named or detected.
        columns: the columns of the first rows that are read, each with its purpose.
        unused_columns: their columns that are not read.
    """

    format: str
    layout: str
    certainty: Certainty
    why: str
    fields: FieldMap = field(default_factory=FieldMap)
    columns: Mapping[str, str] = field(default_factory=dict)
    unused_columns: tuple[str, ...] = ()

    def describe_columns(self) -> str:
        """What became of the columns, safe to print: "text → question, image → images; not used: id"."""
        read = ", ".join(f"{safe_line(name, limit=40)} → {purpose}" for name, purpose in self.columns.items())
        unused = ", ".join(safe_line(name, limit=40) for name in self.unused_columns[:_MAX_LISTED_COLUMNS])
        more = len(self.unused_columns) - _MAX_LISTED_COLUMNS
        unused += f" and {more} more" if more > 0 else ""
        return "; ".join(filter(None, (read, f"not used: {unused}" if unused else "")))

    def __str__(self) -> str:
        """E.g. "JSON Lines, messages (sure): the file starts with `{`"."""
        return f"{FORMATS[self.format]}, {self.layout} ({self.certainty}): {self.why}"


@dataclass(frozen=True, slots=True)
class FormatEvidence:
    """What a dataset's format was concluded from.

    `layout` and `fields` are set where a description that comes with the data names them (LLaMA-Factory's).
    """

    certainty: Certainty
    why: str
    layout: str | None = None
    fields: FieldMap | None = None


class Source(ABC):
    """A dataset whose rows can be read.

    Attributes:
        name: as the user wrote it.
        format: a key of `FORMATS`.
        path: the file or folder; None for a Hub dataset.
        base: the folder that relative image paths are relative to.
        evidence: what the format was concluded from.
        address: a name that is valid in every working directory.
        has_offsets: whether the offsets of rows are those of bytes in the file, so that they can be read from it.
        encoding: of a text file, where the user named it.
    """

    has_offsets = False
    encoding: str | None = None

    def __init__(self, name: str, format: str, path: Path | None, base: Path, evidence: FormatEvidence):
        self.name = name
        self.format = format
        self.path = path
        self.base = base
        self.evidence = evidence
        self.address = str(path.absolute()) if path is not None else name

    @abstractmethod
    def rows(self, start: int = 1) -> Iterator[Row]:
        """Every row from number `start` on.

        Raises:
            DataError: the dataset cannot be read, or has no rows.
            EnvironmentProblem: the Hub cannot be reached.
        """

    def count(self) -> int | None:
        """The number of rows where the dataset's metadata contains it; None where all rows would have to be read."""
        return None

    def content_files(self) -> Sequence[Path] | None:
        """The files that decide what the rows are; None where that is not known, so that rows are not cached."""
        return None

    def raw(self, row: Row) -> str:
        """The row as text, for the file of rejected rows: as in the file, or as JSON without the bytes of images."""
        if row.values is None:
            return row.problem.raw if row.problem is not None else ""
        return json.dumps(row.values, ensure_ascii=False, default=_describe_bytes)


def _describe_bytes(value: object) -> str:
    return f"<{len(value):,} bytes>" if isinstance(value, bytes) else str(value)
