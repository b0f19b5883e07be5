"""Attention over a shared prefix and a row's own tokens is the attention the row would have alone."""

from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from mg_tui.engine.generation import prefix_cache
from mg_tui.engine.generation.prefix_cache import PrefixCache

HEADS, FEWER, WIDTH = 6, 2, 8
# Groups as (tokens of the prefix, tokens of each row's tail).
CASES: dict[str, list[tuple[int, list[int]]]] = {
    "rows of their own": [(5, [0]), (5, [0]), (5, [0])],
    "of several lengths": [(7, [0]), (4, [0]), (1, [0])],
    "equal groups": [(6, [2, 2]), (6, [2, 2])],
    "anything": [(6, [2, 0, 3]), (3, [1]), (9, [0, 4])],
}


class Reference:
    """Keys and values of each row, whole."""

    def __init__(self, groups: list[tuple[int, list[int]]]):
        self.prefixes = [self._random(shared) for shared, _tails in groups]
        self.tails = [(number, self._random(tail)) for number, (_shared, tails) in enumerate(groups) for tail in tails]
        self.rows = [torch.cat([self.prefixes[number], tail], dim=2) for number, tail in self.tails]

    @staticmethod
    def _random(tokens: int) -> torch.Tensor:
        return torch.randn(2, FEWER, tokens, WIDTH)  # keys and values

    def attend(self, row: int, query: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        self.rows[row] = torch.cat([self.rows[row], new[:, :, None]], dim=2)
        key, value = self.rows[row][0][None], self.rows[row][1][None]
        found = scaled_dot_product_attention(query[None, :, None], key, value, scale=0.3, enable_gqa=True)
        return found[0, :, 0]


def filled(reference: Reference, groups: list[tuple[int, list[int]]], max_new_tokens: int) -> PrefixCache:
    cache = PrefixCache(
        [shared for shared, _tails in groups],
        [(number, tail) for number, (_shared, tails) in enumerate(groups) for tail in tails],
        max_new_tokens=max_new_tokens,
        device="cpu",
    )
    # Two layers, which must not mix; a pass of each group's prefix, and one of all tails.
    for layer in (0, 1):
        sign = 1 - 2 * layer
        for number, prefix in enumerate(reference.prefixes):
            places = cache.places_of([(number, list(range(prefix.shape[2])))], [])
            cache.store(layer, sign * prefix[:1], sign * prefix[1:], places)
        tails = torch.cat([tail for _group, tail in reference.tails], dim=2)
        at, own = 0, []
        for row, (_group, tail) in enumerate(reference.tails):
            own.append((row, list(range(at, at + tail.shape[2]))))
            at += tail.shape[2]
        cache.store(layer, sign * tails[:1], sign * tails[1:], cache.places_of([], own))
    return cache


@pytest.mark.parametrize("room", [2, 32])
@pytest.mark.parametrize("groups", CASES.values(), ids=CASES)
def test_it_is_the_attention_of_each_row(
    groups: list[tuple[int, list[int]]], room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefix_cache, "ROOM", room)
    torch.manual_seed(0)
    reference = Reference(groups)
    cache = filled(reference, groups, max_new_tokens=12)
    alive = list(range(len(reference.rows)))
    chosen = torch.Generator().manual_seed(1)
    for step in range(10):
        cache.ensure_room()
        query, new = torch.randn(len(alive), HEADS, WIDTH), torch.randn(2, len(alive), FEWER, WIDTH)
        found = cache.attend(0, query, new[0], new[1], 0.3)
        expected = torch.stack([reference.attend(row, query[at], new[:, at]) for at, row in enumerate(alive)])
        torch.testing.assert_close(found, expected)
        # The second layer, which has everything negative: the same scores for a negative query, negative values.
        torch.testing.assert_close(cache.attend(1, -query, -new[0], -new[1], 0.3), -expected)
        cache.generated += 1
        if step % 3 == 2 and len(alive) > 1:
            going = int(torch.randint(len(alive), (1,), generator=chosen))
            keep = [at for at in range(len(alive)) if at != going]
            cache.keep_rows(keep)
            alive = [alive[at] for at in keep]
    assert cache.rows == len(alive)


def test_a_prefix_is_stored_once_and_freed() -> None:
    groups = [(100, [1, 2, 3]), (50, [1, 1, 1]), (40, [2])]
    cache = filled(Reference(groups), groups, max_new_tokens=4)

    def shapes(kept: Any) -> set[tuple[int, ...]]:
        return {tuple(pair[0].shape) for pair in kept.values()}

    assert shapes(cache._prefix) == {(3, FEWER, 100, WIDTH)} and shapes(cache._own) == {(7, FEWER, 3 + 4, WIDTH)}
    assert cache.kv_tokens == 3 * 100 + 7 * (3 + 4)
    cache.keep_rows([3, 4, 6])  # two of three groups: the prefixes stay
    assert shapes(cache._prefix) == {(3, FEWER, 100, WIDTH)} and shapes(cache._own) == {(3, FEWER, 3 + 4, WIDTH)}
    cache.keep_rows([1])
    assert shapes(cache._prefix) == {(1, FEWER, 50, WIDTH)} and cache.kv_tokens == 50 + 3 + 4
