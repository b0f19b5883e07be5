"""Datasets of several files: the files of a pattern, and the shards in a folder."""

import glob
import re
from itertools import islice
from pathlib import Path
from typing import Final

from mg_tui.core.errors import DataError
from mg_tui.data.jsonl import unreadable_error
from mg_tui.data.row_problems import safe_line
from mg_tui.data.sources.file_types import COLUMNAR_EXTENSIONS

_BRACES: Final = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MAX_SHARDS: Final = 100_000


def expand_pattern(path: Path) -> list[Path]:
    """The files of a pattern: `shard-{000..011}.tar`, or one with * and ?."""
    text = str(path)
    if braces := _BRACES.search(text):
        first, last, width = int(braces[1]), int(braces[2]), len(braces[1])
        if not 0 <= last - first < _MAX_SHARDS:
            raise DataError("invalid range in the pattern", where=safe_line(text))
        numbers = range(first, last + 1)
        return [Path(text[: braces.start()] + f"{n:0{width}}" + text[braces.end() :]) for n in numbers]
    if any(character in text for character in "*?["):
        # Not Path.glob: the pattern may be absolute, with wildcards in any of its parts.
        return [Path(name) for name in sorted(islice(glob.iglob(text), _MAX_SHARDS))]  # noqa: PTH207
    return []


def find_shards(path: Path, format: str | None) -> list[Path]:
    """Shards of one dataset in a folder, or in its subfolder `data` as on the Hub."""
    formats = {".tar": "webdataset", **COLUMNAR_EXTENSIONS}
    for folder in (path, path / "data"):
        try:
            shards = (
                sorted(f for f in folder.iterdir() if formats.get(f.suffix) and f.is_file()) if folder.is_dir() else []
            )
        except OSError as error:
            raise unreadable_error(folder, error) from None
        shards = [file for file in shards if format in (None, formats[file.suffix])]
        shard_formats = {formats[file.suffix] for file in shards}
        if len(shard_formats) > 1:
            hint = f"choose one with --dataset-format: {', '.join(sorted(shard_formats))}"
            raise DataError("the folder contains several formats", where=safe_line(str(folder)), hint=hint)
        if shards:
            return shards
    return []
