"""Hold examples out for evaluation so that no image is on both sides."""

import random
from collections.abc import Hashable, Sequence

from mg_tui.core.example import Example
from mg_tui.data.example_table import columns_of, select_examples


def split_by_image(examples: Sequence[Example], share: float, seed: int) -> tuple[Sequence[Example], Sequence[Example]]:
    """Training examples and held-out examples, both in their original order.

    Examples that share an image, directly or through other examples, stay together; an example without an image is a
    group of its own. The same examples, share and seed give the same split.

    Args:
        share: of the examples to hold out, in [0, 1). As near below it as groups allow, but at least one group and
            never all: with a single group nothing is held out.
    """
    train, held_out = split_indices(examples, share, seed)
    return select_examples(examples, train), select_examples(examples, held_out)


def split_indices(examples: Sequence[Example], share: float, seed: int) -> tuple[Sequence[int], Sequence[int]]:
    """`split_by_image` by the indexes of the examples."""
    everything = range(len(examples))
    if share <= 0:
        return everything, ()
    columns = columns_of(examples)
    held_out = choose_held_out([columns.images_of(index) for index in everything], share, seed)
    if not held_out:
        return everything, ()
    return [index for index in everything if index not in held_out], sorted(held_out)


def choose_held_out(images: Sequence[Sequence[Hashable]], share: float, seed: int) -> set[int]:
    """Indexes of the rows to hold out, given the images of each; see `split_by_image`."""
    groups = _connected_groups(images)
    if share <= 0 or len(groups) < 2:
        return set()
    random.Random(seed).shuffle(groups)
    target = max(round(share * len(images)), 1)
    held_out: set[int] = set()
    for group in groups:
        if len(held_out) + len(group) <= min(target, len(images) - 1):
            held_out.update(group)
    if not held_out:
        # Every group is larger than the share: the smallest one is closest to it.
        smallest = min(groups, key=len)
        held_out.update(smallest)
    return held_out


def _connected_groups(images: Sequence[Sequence[Hashable]]) -> list[list[int]]:
    """Indexes of rows connected by shared images (union-find), groups in the order of their first row."""
    parent = list(range(len(images)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first_with: dict[Hashable, int] = {}
    for index, row_images in enumerate(images):
        for image in row_images:
            first_root = root(first_with.setdefault(image, index))
            own_root = root(index)
            parent[max(first_root, own_root)] = min(first_root, own_root)
    groups: dict[int, list[int]] = {}
    for index in range(len(images)):
        groups.setdefault(root(index), []).append(index)
    return list(groups.values())
