"""The choice of a split in datasets that have several."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from mg_tui.core.errors import DataError
from mg_tui.data.row_problems import safe_line

_SHARD_NAME: Final = re.compile(r"(.+?)[-_.]\d+([-_.]of[-_.]\d+)?(-[0-9a-f]{8,})?")
SPLIT_NAMES: Final = ("train", "validation", "valid", "val", "dev", "test", "eval")


def choose_split(available: Sequence[str], requested: str | None, *, where: str) -> str:
    """The requested split; by default the only one, else the one named train.

    Raises:
        DataError: there is no such split, or there are several and none is named train.
    """
    listed = ", ".join(safe_line(name, limit=40) for name in available)
    if requested is not None:
        if requested in available:
            return requested
        raise DataError(f"unknown split {requested!r}", where=safe_line(where), hint=f"available splits: {listed}")
    if len(available) == 1:
        return available[0]
    if "train" in available:
        return "train"
    raise DataError(
        "the dataset has several splits, none named train",
        where=safe_line(where),
        hint=f"choose one with --dataset-split: {listed}",
    )


def require_no_split(requested: str | None, *, where: str) -> None:
    """Raises DataError when a split is requested of a dataset that has none."""
    if requested is not None:
        raise DataError(f"the dataset has no splits; {requested!r} not found", where=safe_line(where))


def group_by_split(files: Iterable[Path]) -> Mapping[str, list[Path]]:
    """Files by the split their names begin with, as in `train-00000-of-00002.parquet`; all under "train" if no name
    begins with one."""
    groups: dict[str, list[Path]] = {}
    for file in sorted(files):
        shard = _SHARD_NAME.fullmatch(file.stem)
        name = shard[1] if shard else file.stem
        groups.setdefault(name, []).append(file)
    if any(name.lower() in SPLIT_NAMES for name in groups):
        return groups
    return {"train": [file for files in groups.values() for file in files]}


def is_numbered_shard(file: Path) -> bool:
    """Whether a file's name has a shard number."""
    return _SHARD_NAME.fullmatch(file.stem) is not None


def describe_split(split: str, available: Sequence[str]) -> str:
    """The chosen split as the end of a reason; empty when there was only one."""
    if len(available) < 2:
        return ""
    return f"; split {safe_line(split, limit=40)} of {', '.join(safe_line(name, limit=40) for name in available)}"
