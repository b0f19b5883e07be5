"""Forwards: every example in one of them, none over the budget, and sharing kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mg_tui.engine.layout.packing import pack
from mg_tui.engine.layout.trie import build_trie


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), max_size=15),
    st.integers(1, 40),
    st.none() | st.integers(1, 40),
)
def test_any_step(sequences: list[list[int]], budget: int, enough: int | None) -> None:
    forwards = pack(sequences, budget, sufficient_tokens=enough)
    assert sorted(index for forward in forwards for index in forward) == list(range(len(sequences)))
    for forward in forwards:
        assert forward
        assert build_trie([sequences[index] for index in forward]).length <= budget or len(forward) == 1


def test_questions_about_one_image_stay_together() -> None:
    rows = [[1, *[100 + image] * 50, question] for question in range(4) for image in range(6)]
    forwards = pack(rows, 120)
    assert len(forwards) == 3
    for forward in forwards:
        assert len(forward) == 8
        assert len({rows[index][1] for index in forward}) == 2


def test_forwards_are_even() -> None:
    rows = [[index] * 10 for index in range(12)]
    assert [len(forward) for forward in pack(rows, 110)] == [6, 6]


def test_what_shares_nothing_goes_on_to_a_pass_of_its_own_once_there_is_enough() -> None:
    alone = [[1, *[100 + row] * 19] for row in range(8)]
    assert [len(forward) for forward in pack(alone, 1000, sufficient_tokens=50)] == [3, 3, 2]
    assert [len(forward) for forward in pack(alone, 1000)] == [8]
    shared = [[1, *[100 + image] * 50, question] for question in range(4) for image in range(2)]
    assert [len(forward) for forward in pack(shared, 1000, sufficient_tokens=20)] == [4, 4], (
        "questions stay with their image"
    )
    assert [len(forward) for forward in pack(shared, 1000, sufficient_tokens=60)] == [8]


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="budget"):
        pack([[1]], 0)
