"""What every source of rows is, and how one is opened from what a person wrote.

A source gives rows in order, in the memory of one row or one batch, as often as it is asked. Values are those of JSON,
and images as bytes besides: `{"bytes": b"...", "path": "name in the archive" or None}`, as Hugging Face's `Image`
keeps them.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

from mg_tui.data.field_map import FieldMap
from mg_tui.data.policy import ALLOW_ALL, ReadPolicy
from mg_tui.data.rows import Row

__all__ = ["FORMATS", "Certainty", "DetectedFormat", "FormatEvidence", "Row", "Source", "open_source"]

Certainty = Literal["sure", "likely", "guess"]

# What each format is called for people.
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


@dataclass(frozen=True, slots=True)
class DetectedFormat:
    """What a dataset was taken for.

    Attributes:
        format: a key of `IMAGE_FORMATS`.
        layout: a key of `mg_tui.data.sources.layouts.LAYOUTS`.
        certainty: of both together.
        why: what showed it, in a sentence or two, safe to print.
        fields: which field holds what, as far as it was named or found.
    """

    format: str
    layout: str
    certainty: Certainty
    why: str
    fields: FieldMap = field(default_factory=FieldMap)

    def __str__(self) -> str:
        """For a line of output: "JSON Lines, messages (sure): the file has ..."."""
        return f"{FORMATS[self.format]}, {self.layout} ({self.certainty}): {self.why}"


@dataclass(frozen=True, slots=True)
class FormatEvidence:
    """What a file says of itself beside its rows, or what showed its format.

    `layout` and `fields` are set where a description that comes with the data says them (LLaMA-Factory's).
    """

    certainty: Certainty
    why: str
    layout: str | None = None
    fields: FieldMap | None = None


class Source(ABC):
    """Where rows come from.

    Attributes:
        name: as it was given.
        format: a key of `IMAGE_FORMATS`.
        path: the file or folder; None for a dataset of a hub.
        base: the folder that relative paths of images are seen from.
        told: what showed the format.
        address: what names it from every folder.
    """

    def __init__(self, name: str, format: str, path: Path | None, base: Path, told: FormatEvidence):
        self.name = name
        self.format = format
        self.path = path
        self.base = base
        self.evidence = told
        self.address = str(path.absolute()) if path is not None else name

    @cached_property
    def detected_format(self) -> DetectedFormat:
        """What it was taken for; reads the first rows once.

        Raises as `rows` does.
        """
        from mg_tui.data.sources.detection import detect_format

        return detect_format(self)

    @abstractmethod
    def rows(self, start: int = 1) -> Iterator[Row]:
        """Every row from number `start` on.

        Raises:
            DataError: the dataset cannot be read, or has no rows.
            EnvironmentProblem: a hub cannot be reached.
        """

    def count(self) -> int | None:
        """The number of rows where the dataset itself says it, None where only reading would tell."""
        return None

    def raw(self, row: Row) -> str:
        """The row as text, for a file of rejected rows: as the file has it, or as JSON without its images' bytes."""
        if row.values is None:
            return row.problem.raw if row.problem is not None else ""
        return json.dumps(row.values, ensure_ascii=False, default=_describe_bytes)


def _describe_bytes(value: object) -> str:
    return f"<{len(value):,} bytes>" if isinstance(value, bytes) else str(value)


def open_source(
    given: str,
    *,
    cwd: Path,
    cache: Path | None,
    format: str | None = None,
    split: str | None = None,
    config: str | None = None,
    policy: ReadPolicy = ALLOW_ALL,
) -> Source:
    """The source that `given` names: a file, a folder, a pattern of several files, or `owner/name` of a hub.

    Args:
        given: as a person wrote it; a relative path is seen from `cwd`.
        cache: folder of the garden's cache.
        format: a key of `IMAGE_FORMATS`; recognised when left out.
        split: of a dataset that has several.
        config: of a dataset of a hub that has several, or the entry of a `dataset_info.json`.
        policy: where files may be read from.

    Raises:
        DataError: there is nothing of that name, it is no dataset, or it may not be read.
        EnvironmentProblem: a hub cannot be reached.
    """
    from mg_tui.data.sources.opener import SourceRequest, _open_request

    return _open_request(SourceRequest(given, cwd, cache, None if format == "auto" else format, split, config, policy))
