"""Which split of a dataset that has several."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from mg_tui.core.errors import DataError
from mg_tui.data.problems import plain

_SHARD: Final = re.compile(r"(.+?)[-_.]\d+([-_.]of[-_.]\d+)?(-[0-9a-f]{8,})?")
SPLITS: Final = ("train", "validation", "valid", "val", "dev", "test", "eval")


def choose(available: Sequence[str], asked: str | None, *, where: str) -> str:
    """The split that was asked for, or the one that is meant: the only one, else the one called train.

    Raises:
        DataError: there is no such split, or it cannot be told which is meant.
    """
    listed = ", ".join(plain(name, limit=40) for name in available)
    if asked is not None:
        if asked in available:
            return asked
        raise DataError(f"the dataset has no split {asked!r}", where=plain(where), hint=f"its splits are {listed}")
    if len(available) == 1:
        return available[0]
    if "train" in available:
        return "train"
    raise DataError(
        "the dataset has several splits and none is called train",
        where=plain(where),
        hint=f"choose one with --dataset-split: {listed}",
    )


def refuse(asked: str | None, *, where: str) -> None:
    """Raises DataError when a split was asked for of a dataset that has none."""
    if asked is not None:
        raise DataError(f"the dataset has no splits, so none called {asked!r}", where=plain(where))


def by_name(files: Iterable[Path]) -> Mapping[str, list[Path]]:
    """Files by the split their names begin with, as in `train-00000-of-00002.parquet`; all under "train" where names
    say nothing."""
    found: dict[str, list[Path]] = {}
    for file in sorted(files):
        shard = _SHARD.fullmatch(file.stem)
        name = shard[1] if shard else file.stem
        found.setdefault(name, []).append(file)
    if any(name.lower() in SPLITS for name in found):
        return found
    return {"train": [file for files in found.values() for file in files]}


def counts_up(file: Path) -> bool:
    """Whether a file's name says that it is one of several that belong together."""
    return _SHARD.fullmatch(file.stem) is not None


def said(split: str, available: Sequence[str]) -> str:
    """What to say of a choice; empty where there was none."""
    if len(available) < 2:
        return ""
    return f"; split {plain(split, limit=40)} of {', '.join(plain(name, limit=40) for name in available)}"
