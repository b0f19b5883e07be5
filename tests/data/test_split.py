"""No image on both sides; the same seed, the same split; neither side empty."""

import random
from collections.abc import Sequence

import pytest

from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.data.split import split_by_image


def example(row: int, images: Sequence[str]) -> Example:
    parts = tuple(ImagePart(ImageRef(f"/{name}", name)) for name in images)
    return Example(row, (Message("user", (*parts, TextPart("q"))), Message("assistant", (TextPart("a"),))))


def images_of(examples: Sequence[Example]) -> set[str]:
    return {image.path for item in examples for image in item.images}


@pytest.mark.parametrize("seed", range(20))
def test_images_stay_on_one_side(seed: int) -> None:
    rng = random.Random(seed)
    examples = [example(i, rng.sample("abcdefghijklmnopqrstuvwxyz", rng.choice([0, 1, 1, 2]))) for i in range(40)]
    share = rng.uniform(0.01, 0.9)
    train, held = split_by_image(examples, share, seed)
    assert not images_of(train) & images_of(held)
    assert train
    assert held
    assert sorted([*train, *held], key=lambda item: item.row) == examples
    assert [item.row for item in train] == sorted(item.row for item in train)
    assert split_by_image(examples, share, seed) == (train, held)


def test_the_share_is_met_where_groups_allow() -> None:
    examples = [example(i, [str(i // 2)]) for i in range(100)]
    train, held = split_by_image(examples, 0.2, 7)
    assert (len(train), len(held)) == (80, 20)
    assert split_by_image(examples, 0.2, 8)[1] != held


def test_images_shared_through_a_third_example() -> None:
    examples = [example(0, ["a"]), example(1, ["a", "b"]), example(2, ["b"]), example(3, ["c"])]
    for seed in range(10):
        _train, held = split_by_image(examples, 0.25, seed)
        assert [item.row for item in held] == [3]


def test_a_large_group_is_not_held_out_for_a_small_share() -> None:
    examples = [*(example(i, ["big"]) for i in range(98)), example(98, ["x"]), example(99, ["y"])]
    for seed in range(10):
        assert len(split_by_image(examples, 0.01, seed)[1]) == 1


def test_edges() -> None:
    examples = [example(i, ["same"]) for i in range(5)]
    assert split_by_image(examples, 0.5, 1) == (tuple(examples), ())
    assert split_by_image([], 0.5, 1) == ((), ())
    several = [example(i, [str(i)]) for i in range(5)]
    assert split_by_image(several, 0.0, 1) == (tuple(several), ())
    assert [len(side) for side in split_by_image(several, 0.999, 1)] == [1, 4]
    assert [len(side) for side in split_by_image(several, 0.001, 1)] == [4, 1]
    pairs = [example(i, [str(i // 3)]) for i in range(6)]
    assert [len(side) for side in split_by_image(pairs, 0.1, 1)] == [3, 3]
