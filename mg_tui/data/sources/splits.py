"""Which split of a dataset that has several."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from mg_tui.core.errors import DataError
from mg_tui.data.row_problems import safe_line

_SHARD_NAME: Final = re.compile(r"(.+?)[-_.]\d+([-_.]of[-_.]\d+)?(-[0-9a-f]{8,})?")
SPLIT_NAMES: Final = ("train", "validation", "valid", "val", "dev", "test", "eval")


def choose_split(available: Sequence[str], asked: str | None, *, where: str) -> str:
    """The split that was asked for, or the one that is meant: the only one, else the one called train.

    Raises:
        DataError: there is no such split, or it cannot be told which is meant.
    """
    listed = ", ".join(safe_line(name, limit=40) for name in available)
    if asked is not None:
        if asked in available:
            return asked
        raise DataError(f"unknown split {asked!r}", where=safe_line(where), hint=f"available splits: {listed}")
    if len(available) == 1:
        return available[0]
    if "train" in available:
        return "train"
    raise DataError(
        "the dataset has several splits, none named train",
        where=safe_line(where),
        hint=f"choose one with --dataset-split: {listed}",
    )


def require_no_split(asked: str | None, *, where: str) -> None:
    """Raises DataError when a split was asked for of a dataset that has none."""
    if asked is not None:
        raise DataError(f"the dataset has no splits; {asked!r} not found", where=safe_line(where))


def group_by_split(files: Iterable[Path]) -> Mapping[str, list[Path]]:
    """Files by the split their names begin with, as in `train-00000-of-00002.parquet`; all under "train" where names
    say nothing."""
    found: dict[str, list[Path]] = {}
    for file in sorted(files):
        shard = _SHARD_NAME.fullmatch(file.stem)
        name = shard[1] if shard else file.stem
        found.setdefault(name, []).append(file)
    if any(name.lower() in SPLIT_NAMES for name in found):
        return found
    return {"train": [file for files in found.values() for file in files]}


def is_numbered_shard(file: Path) -> bool:
    """Whether a file's name says that it is one of several that belong together."""
    return _SHARD_NAME.fullmatch(file.stem) is not None


def describe_split(split: str, available: Sequence[str]) -> str:
    """What to say of a choice; empty where there was none."""
    if len(available) < 2:
        return ""
    return f"; split {safe_line(split, limit=40)} of {', '.join(safe_line(name, limit=40) for name in available)}"
