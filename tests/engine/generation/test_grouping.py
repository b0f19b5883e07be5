"""Which rows share a prefix."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mg_tui.engine.generation.grouping import MIN_SHARED_FRACTION, group_by_prefix, order_by_images

TOKENS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12).map(tuple), max_size=12)


@given(TOKENS, st.integers(1, 5) | st.just(20))
def test_every_row_is_in_one_group_whose_prefix_it_has(sequences: list[tuple[int, ...]], most: int) -> None:
    found = group_by_prefix(sequences, most)
    assert sorted(index for one in found for index in one.rows) == list(range(len(sequences)))
    for one in found:
        assert 1 <= len(one.rows) <= most
        first = sequences[one.rows[0]][: one.shared]
        assert len(first) == one.shared
        for index in one.rows:
            assert sequences[index][: one.shared] == first
            assert one.shared >= MIN_SHARED_FRACTION * len(sequences[index])
    if most > len(sequences):  # no group is in parts, which stay side by side
        longest = [max(len(sequences[index]) for index in one.rows) for one in found]
        assert longest == sorted(longest, reverse=True)


def test_a_system_prompt_makes_no_group_and_an_image_does() -> None:
    system = (1, 2, 3)
    images = [(-1,) * 20, (-2,) * 20]
    sequences = [(*system, *images[number % 2], 7, number) for number in range(6)]
    found = {one.rows: one.shared for one in group_by_prefix(sequences, 8)}
    assert found == {(0, 2, 4): 24, (1, 3, 5): 24}
    assert [one.rows for one in group_by_prefix(sequences, 2)] == [(1, 3), (5,), (0, 2), (4,)], (
        "parts stay side by side"
    )
    (equal,) = group_by_prefix([sequences[0]] * 3, 8)
    assert equal.shared == len(sequences[0])


def test_a_group_needs_rows() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        group_by_prefix([(1,)], 0)


def test_rows_of_the_same_images_stand_together() -> None:
    images = [["b"], [], ["a"], ["b", "a"], ["b"], [], ["a"]]
    assert order_by_images(images) == [1, 5, 0, 4, 3, 2, 6]
