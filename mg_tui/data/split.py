"""Hold examples out for evaluation without letting an image be on both sides."""

import random
from collections.abc import Hashable, Sequence

from mg_tui.core.example import Example


def split_by_image(
    examples: Sequence[Example], share: float, seed: int
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Examples to train on and examples held out, both in the order given.

    Examples that show a common image, directly or through a third, stay together; an example without an image is a
    group of its own. The same examples, share and seed give the same split.

    Args:
        share: of the examples to hold out, from 0 up to and without 1. As near below it as groups allow, but at least
            one group and never all: with a single group nothing is held out.
    """
    held = choose_held_out([_image_paths(example) for example in examples], share, seed)
    train = tuple(example for index, example in enumerate(examples) if index not in held)
    return train, tuple(example for index, example in enumerate(examples) if index in held)


def choose_held_out(images: Sequence[Sequence[Hashable]], share: float, seed: int) -> set[int]:
    """Indexes of the rows to hold out, given the images of each; see `split_by_image`."""
    groups = _connected_groups(images)
    if share <= 0 or len(groups) < 2:
        return set()
    random.Random(seed).shuffle(groups)
    wanted = max(round(share * len(images)), 1)
    held: set[int] = set()
    for group in groups:
        if len(held) + len(group) <= min(wanted, len(images) - 1):
            held.update(group)
    # Every group is larger than the share: the smallest one is the nearest to it.
    if not held:
        smallest = min(groups, key=len)
        held = set(smallest)
    return held


def groups_by_image(examples: Sequence[Example]) -> list[list[int]]:
    """Indexes of examples that hang together by their images, in the order of their first example."""
    return _connected_groups([_image_paths(example) for example in examples])


def _image_paths(example: Example) -> list[str]:
    return [image.path for image in example.images]


def _connected_groups(images: Sequence[Sequence[Hashable]]) -> list[list[int]]:
    parent = list(range(len(images)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first_with: dict[Hashable, int] = {}
    for index, shown in enumerate(images):
        for image in shown:
            other = root(first_with.setdefault(image, index))
            here = root(index)
            parent[max(other, here)] = min(other, here)
    groups: dict[int, list[int]] = {}
    for index in range(len(images)):
        groups.setdefault(root(index), []).append(index)
    return list(groups.values())
