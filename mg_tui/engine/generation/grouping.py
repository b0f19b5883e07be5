"""Groups of rows with a common prefix, and the order in which rows are answered. Free of torch.

The keys and values of a group's prefix are stored once; tokens beyond it belong to the row. Only prefixes that are at
least half of a row make a group: the system prompt before every image does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mg_tui.engine.layout.trie import common_prefix_length

MIN_SHARED_FRACTION: Final = 0.5  # of each row's tokens


@dataclass(frozen=True, slots=True)
class PrefixGroup:
    """Rows, as indices into the grouped sequences, and the length of their common prefix."""

    rows: tuple[int, ...]
    shared: int


def group_by_prefix(sequences: Sequence[tuple[int, ...]], max_rows: int) -> list[PrefixGroup]:
    """Partition token sequences into groups.

    Args:
        sequences: the tokens of each prompt; tokens that are not interchangeable differ (see `layout.trie`).
        max_rows: of a group; larger groups are split, and their parts stay adjacent.

    Returns:
        Groups that contain every index once, those with long rows first. A group of one row has all of its tokens as
        the prefix.

    Raises:
        ValueError: `max_rows` is less than one.
    """
    if max_rows < 1:
        raise ValueError(f"a group has at least one row, got {max_rows}")
    order = sorted(range(len(sequences)), key=sequences.__getitem__)
    clusters: list[list[PrefixGroup]] = []  # the parts of a split group are one cluster
    rows: list[int] = []
    shared, longest, is_part = 0, 0, False
    for index in order:
        sequence = sequences[index]
        # In sorted order a prefix shared with the previous row is shared with all rows of the group.
        common = min(shared, common_prefix_length(sequences[rows[-1]], sequence)) if rows else 0
        similar = bool(rows) and common >= MIN_SHARED_FRACTION * max(longest, len(sequence))
        if similar and len(rows) < max_rows:
            rows.append(index)
            shared, longest = common, max(longest, len(sequence))
            continue
        _add_group(clusters, rows, shared, is_part)
        rows, shared, longest, is_part = [index], len(sequence), len(sequence), similar
    _add_group(clusters, rows, shared, is_part)
    clusters.sort(key=lambda groups: -max(len(sequences[index]) for group in groups for index in group.rows))
    return [group for groups in clusters for group in groups]


def _add_group(clusters: list[list[PrefixGroup]], rows: list[int], shared: int, is_part: bool) -> None:
    if rows and is_part:
        clusters[-1].append(PrefixGroup(tuple(rows), shared))
    elif rows:
        clusters.append([PrefixGroup(tuple(rows), shared)])


def order_by_images(images: Sequence[Sequence[str]]) -> list[int]:
    """An order of rows in which rows with the same images are adjacent.

    Args:
        images: for each row the paths of its images, in the order of its prompt.

    Returns:
        Indices of rows: those without images first, then by the first occurrence of their images.
    """
    numbers: dict[str, int] = {}
    keys = [tuple(numbers.setdefault(path, len(numbers)) for path in paths) for paths in images]
    return sorted(range(len(keys)), key=lambda index: (keys[index], index))
