"""The trie: every example is spelt by its places, sees itself and nothing else, and no token is laid out twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mg_tui.engine.layout.trie import build_trie

Sequences = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=12)


def distinct_prefixes(sequences: list[list[int]]) -> int:
    return len({tuple(sequence[: stop + 1]) for sequence in sequences for stop in range(len(sequence))})


@given(Sequences)
def test_any_sequences(sequences: list[list[int]]) -> None:
    trie = build_trie(sequences)
    assert trie.length == distinct_prefixes(sequences)
    assert trie.tokens == sum(map(len, sequences))
    ends = trie.subtree_ends()
    assert len(ends) == trie.length

    laid_out: dict[int, int] = {}
    for segment in trie.segments:
        for offset in range(segment.stop - segment.start):
            laid_out[segment.at + offset] = sequences[segment.example][segment.start + offset]
    assert sorted(laid_out) == list(range(trie.length))

    for index, sequence in enumerate(sequences):
        places = trie.layout_indices(index)
        assert [laid_out[place] for place in places] == sequence
        assert places == sorted(places)
        for depth, query in enumerate(places):
            observed = [key for key in range(trie.length) if key <= query < ends[key]]
            assert observed == places[: depth + 1]


def test_five_questions_about_one_image() -> None:
    image_file = [7] * 256
    trie = build_trie([[1, 2, *image_file, 3, 10 + question, 4] for question in range(5)])
    assert (trie.length, trie.tokens) == (2 + 256 + 1 + 5 * 2, 5 * 261)
    assert trie.shared_tokens == 4 * 259


def test_equal_examples_share_everything() -> None:
    trie = build_trie([[1, 2, 3]] * 3)
    assert trie.length == 3
    assert trie.layout_indices(0) == trie.layout_indices(2) == [0, 1, 2]


def test_an_example_that_is_the_beginning_of_another() -> None:
    trie = build_trie([[1, 2, 3], [1, 2]])
    assert trie.layout_indices(1) == [0, 1]
    assert trie.layout_indices(0) == [0, 1, 2]


def test_an_empty_example_is_refused() -> None:
    with pytest.raises(ValueError, match="without tokens"):
        build_trie([[1], []])
