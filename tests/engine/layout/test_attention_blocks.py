"""Blocks of a layout: every place once, and together exactly what the tree sees."""

from hypothesis import given
from hypothesis import strategies as st

from mg_tui.engine.layout.attention_blocks import block_lengths, cut_blocks
from mg_tui.engine.layout.trie import build_trie


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=12), st.integers(0, 20))
def test_blocks_see_what_the_tree_sees(sequences: list[list[int]], bush: int) -> None:
    ends = build_trie(sequences).subtree_ends()
    result = cut_blocks(ends, bush)
    assert [place for block in result for place in range(*block.queries)] == list(range(len(ends)))
    assert sum(block_lengths(result)) == len(ends)
    for block in result:
        for query in range(*block.queries):
            own = range(*block.queries)
            inner = [key for key in own if key <= query and (block.is_causal or query < ends[key])]
            keys = [*(key for run in block.context for key in range(*run)), *inner]
            assert keys == [key for key in range(query + 1) if query < ends[key]]


def test_images_see_nothing_of_each_other() -> None:
    """Two images after one beginning, three questions each."""
    rows = [[1, 1, *[10 + image] * 40, 100 + question, 7] for image in range(2) for question in range(3)]
    result = cut_blocks(build_trie(rows).subtree_ends(), bush=10)
    assert [(block.queries, block.context, block.is_causal) for block in result] == [
        ((0, 2), (), True),
        ((2, 42), ((0, 2),), True),
        ((42, 48), ((0, 2), (2, 42)), False),
        ((48, 88), ((0, 2),), True),
        ((88, 94), ((0, 2), (48, 88)), False),
    ]
