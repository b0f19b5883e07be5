"""What every source of rows is, and how one is opened from what a person wrote.

A source gives rows in order, in the memory of one row or one batch, as often as it is asked. Values are those of JSON,
and pictures as bytes besides: `{"bytes": b"...", "path": "name in the archive" or None}`, as Hugging Face's `Image`
keeps them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from mg_tui.core.paths import expanded
from mg_tui.data.rows import Row

__all__ = ["FORMATS", "Certainty", "Recognised", "Row", "Source", "open_source"]

Certainty = Literal["sure", "likely", "guess"]

# What each format is called for people.
FORMATS: Final = {
    "jsonl": "JSON Lines",
}


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a dataset was taken for.

    Attributes:
        format: a key of `FORMATS`.
        layout: a key of `mg_tui.data.sources.layouts.LAYOUTS`.
        certainty: of both together.
        why: what showed it, in a sentence or two, safe to print.
    """

    format: str
    layout: str
    certainty: Certainty
    why: str


class Source(Protocol):
    """Where rows come from.

    Attributes:
        name: as it was given.
        format: a key of `FORMATS`.
        path: the file or folder; None for a dataset of a hub.
        base: the folder that relative paths of pictures are seen from.
    """

    name: str
    format: str
    path: Path | None
    base: Path

    @property
    def recognised(self) -> Recognised:
        """What it was taken for; reads the first rows once."""
        ...

    def rows(self, start: int = 1) -> Iterator[Row]:
        """Every row from number `start` on.

        Raises:
            DataError: the dataset cannot be read, or has no rows.
            EnvironmentProblem: a hub cannot be reached.
        """
        ...

    def count(self) -> int | None:
        """The number of rows where the dataset itself says it, None where only reading would tell."""
        ...

    def raw(self, row: Row) -> str:
        """The row as text, for a file of rejected rows: as the file has it, or as JSON without its pictures."""
        ...


def open_source(
    given: str,
    *,
    cwd: Path,
    cache: Path | None,
    format: str | None = None,
    split: str | None = None,
    config: str | None = None,
) -> Source:
    """The source that `given` names: a file, a folder, or `owner/name` of a hub.

    Args:
        given: as a person wrote it; a relative path is seen from `cwd`.
        cache: folder of the garden's cache.
        format: a key of `FORMATS`; recognised when left out.
        split: of a dataset that has several.
        config: of a dataset of a hub that has several.

    Raises:
        DataError: there is nothing of that name, or it is no dataset.
        EnvironmentProblem: a hub cannot be reached.
    """
    from mg_tui.data.sources.lines import JsonLines

    return JsonLines(given, cwd / expanded(given))
