"""Which rows share the keys and values of a common prefix, and in which order rows are answered. No torch in here.

A group is a set of rows whose prompts begin alike: questions about one image, texts under one instruction. Its prefix
is stored once; what a row has beyond it is the row's own. Only long prefixes are worth a group: the system prompt that
precedes every image is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mg_tui.engine.layout.trie import common_prefix

SHARED_AT_LEAST: Final = 0.5  # of each row's tokens: below that, rows keep their keys and values apart


@dataclass(frozen=True, slots=True)
class Group:
    """Rows, by their indices in what was grouped, and how many tokens at the beginning all of them share."""

    rows: tuple[int, ...]
    shared: int


def group(sequences: Sequence[tuple[int, ...]], most: int) -> list[Group]:
    """Part token sequences into groups.

    Args:
        sequences: tokens of each prompt; tokens that are not interchangeable differ (see `layout.trie`).
        most: rows that a group may have.

    Returns:
        Every index in exactly one group; a row that shares too little is a group of its own, with all of its tokens as
        the prefix. Groups with long rows come first.

    Raises:
        ValueError: `most` is less than one.
    """
    if most < 1:
        raise ValueError(f"a group has at least one row, got {most}")
    order = sorted(range(len(sequences)), key=sequences.__getitem__)
    # Groups that are parts of one, since it had too many rows, stay side by side.
    found: list[list[Group]] = []
    rows: list[int] = []
    shared, longest, part = 0, 0, False
    for index in order:
        sequence = sequences[index]
        # In sorted order a prefix common to the last row and this one is common to all rows between.
        common = min(shared, common_prefix(sequences[rows[-1]], sequence)) if rows else 0
        alike = bool(rows) and common >= SHARED_AT_LEAST * max(longest, len(sequence))
        if alike and len(rows) < most:
            rows.append(index)
            shared, longest = common, max(longest, len(sequence))
            continue
        _close(found, rows, shared, part)
        rows, shared, longest, part = [index], len(sequence), len(sequence), alike
    _close(found, rows, shared, part)
    found.sort(key=lambda parts: -max(len(sequences[index]) for one in parts for index in one.rows))
    return [one for parts in found for one in parts]


def _close(found: list[list[Group]], rows: list[int], shared: int, part: bool) -> None:
    if rows and part:
        found[-1].append(Group(tuple(rows), shared))
    elif rows:
        found.append([Group(tuple(rows), shared)])


def by_images(images: Sequence[Sequence[str]]) -> list[int]:
    """An order of rows in which those that show the same images stand together.

    Args:
        images: for each row the paths of its images, in the order it shows them.

    Returns:
        Indices of the rows; images are met in the order in which they first occur, rows without images first.
    """
    numbers: dict[str, int] = {}
    shown = [tuple(numbers.setdefault(path, len(numbers)) for path in paths) for paths in images]
    return sorted(range(len(shown)), key=lambda index: (shown[index], index))
