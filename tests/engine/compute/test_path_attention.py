"""Attention over packed layouts with windows, and with images whose tokens see each other: as a dense mask gives it."""

import pytest
import torch
from torch.nn import functional

from mg_tui.core.errors import FamilyError
from mg_tui.engine.batching.packed_layout import tree_paths
from mg_tui.engine.compute import attention
from mg_tui.engine.layout.attention_blocks import cut_blocks
from mg_tui.engine.layout.trie import build_trie
from mg_tui.families.contract import Attention

# Rows of text (positive) and of feature tokens (negative, by image): two share an image and a question.
ROWS = [
    (1, 2, -1, -1, -1, -1, 3, 4, 5, 6),
    (1, 2, -1, -1, -1, -1, 3, 4, 7, 8, 9),
    (1, 2, -2, -2, -2, 3, -1, -1, -1, -1, 4),
    (1, 5, 6),
]
BLOCKS = [tuple((-1 if token > 0 else [-1, -2].index(token)) for token in row) for row in ROWS]


def paths_of(kind: Attention) -> torch.Tensor:
    trie = build_trie(ROWS)
    return tree_paths(trie, BLOCKS, kind)


@pytest.mark.parametrize("window", [None, 3, 5, 100])
def test_attention_by_blocks_is_that_of_the_dense_mask(window: int | None) -> None:
    paths = paths_of(Attention("image_blocks", windows=True))
    length = paths.shape[1]
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 2, length, 8, generator=generator, dtype=torch.float64) for _ in range(3))
    places = torch.arange(length)
    mask = attention.visibility_mask(places, places, paths, window)
    expected = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[None, None]).transpose(1, 2)
    given = attention.to_attention_mask(paths)
    found, _none = attention.tree_attention(torch.nn.Module(), query, key, value, given, sliding_window=window)
    torch.testing.assert_close(found, expected)
    module = torch.nn.Module()
    setattr(module, attention.QUERY_POSITIONS, torch.tensor([3, length - 1]))
    some, _none = attention.tree_attention(module, query, key, value, given, sliding_window=window)
    torch.testing.assert_close(some[:, [3, length - 1]], expected[:, [3, length - 1]])


def test_a_window_is_counted_along_a_row_and_an_image_sees_itself() -> None:
    """Of the last row: its window holds the tokens before it in the row, wherever the layout has them."""
    trie = build_trie(ROWS)
    paths = paths_of(Attention("image_blocks", windows=True))
    for number, row in enumerate(ROWS):
        places = torch.tensor(trie.layout_indices(number))
        seen = attention.visibility_mask(places, places, paths, 4)
        for at, token in enumerate(row):
            for other, before in enumerate(row):
                same_image = token == before < 0
                assert bool(seen[at, other]) == ((other <= at or same_image) and at - other < 4), (number, at, other)


def test_plain_families_have_one_row_of_paths() -> None:
    assert paths_of(Attention()).shape[0] == 1
    with pytest.raises(FamilyError, match="does not declare"):
        attention.effective_window(paths_of(Attention()), 4)


def test_blocks_are_cut_where_images_begin_and_end() -> None:
    blocks = cut_blocks([6] * 6, images=[(2, 4)])
    assert [(block.queries, block.is_image) for block in blocks] == [((0, 2), False), ((2, 4), True), ((4, 6), False)]
    assert blocks[2].context == ((0, 2), (2, 4))
