"""Packs the examples of a step into forward passes within a token budget. Free of torch.

Sorted by their tokens, examples with a common prefix are adjacent, and the tokens an example adds to a forward are
those beyond the prefix it shares with the one before it. So the sorted examples are cut into consecutive forwards of
about equal length: as few as the budget allows, with next to nothing of the sharing lost, in one pass.

Where examples share nothing, a longer forward only makes matrix products larger, which helps little beyond some size on
a CPU: there a forward may end at `sufficient_tokens`.
"""

from collections.abc import Sequence

from mg_tui.engine.layout.trie import common_prefix_length

_SMALL_SHARED_FRACTION = 0.1  # of an example's tokens, when they are shared: a system prompt before images that differ


def pack(
    sequences: Sequence[Sequence[int]], budget: int, *, sufficient_tokens: int | None = None
) -> list[tuple[int, ...]]:
    """Partition examples into forward passes.

    Args:
        sequences: the tokens of each example, as `trie.build` takes them.
        budget: most tokens of a forward pass, shared tokens counted once. An example longer than that goes alone.
        sufficient_tokens: tokens from which on a forward ends before an example that shares next to nothing with it.

    Returns:
        Indices into `sequences`, one tuple for each forward; every index once, sorted by tokens.

    Raises:
        ValueError: the budget is not positive.
    """
    if budget < 1:
        raise ValueError(f"a forward pass needs a budget of at least one token, got {budget}")
    tuples = [tuple(sequence) for sequence in sequences]
    order = sorted(range(len(tuples)), key=tuples.__getitem__)
    lengths = [len(tuples[index]) for index in order]
    added = [
        length - (common_prefix_length(tuples[order[place - 1]], tuples[index]) if place else 0)
        for place, (index, length) in enumerate(zip(order, lengths, strict=True))
    ]
    ends = [
        sufficient_tokens
        if sufficient_tokens is not None and length - more <= _SMALL_SHARED_FRACTION * length
        else None
        for length, more in zip(lengths, added, strict=True)
    ]
    cuts = _cut_into_passes(lengths, added, budget, ends)
    # As many forwards as the budget needs, but even ones: their peak of memory is the longest one's.
    for even in _tighter_budgets(added, budget, len(cuts)):
        tighter = _cut_into_passes(lengths, added, even, ends)
        if len(tighter) == len(cuts):
            cuts = tighter
            break
    return [tuple(order[start:stop]) for start, stop in cuts]


def _cut_into_passes(
    lengths: list[int], added: list[int], budget: int, ends: list[int | None]
) -> list[tuple[int, int]]:
    """Consecutive runs whose tokens stay within the budget, as (start, stop); a run of as many tokens as `ends` has for
    the next example ends before it."""
    cuts, start, total = [], 0, 0
    for place, (length, more, end) in enumerate(zip(lengths, added, ends, strict=True)):
        if place > start and (total + more > budget or (end is not None and total >= end)):
            cuts.append((start, place))
            start, total = place, length  # the first of a forward shares with nobody
        else:
            total += length if place == start else more
    if lengths:
        cuts.append((start, len(lengths)))
    return cuts


def _tighter_budgets(added: list[int], budget: int, forwards: int) -> list[int]:
    """Budgets to try, from an even share of the tokens upwards; none when one forward is enough."""
    share = -(-sum(added) // max(forwards, 1))
    return [round(share + (budget - share) * part / 8) for part in range(8)] if forwards > 1 and share < budget else []
