"""How the attention of a packed layout is cut into pieces that hold little but what is really seen. No torch in here.

A mask over the whole layout (see `trie`) is quadratic in its length, and nearly all of it is empty where pictures, or
branches, see nothing of each other. So the layout is cut into blocks: a run of queries, and the runs of keys before it
that all of them see. A block is a chain (each of its places sees those before it: no mask, and a causal kernel does
half the work) or a bush of short branches, which gets a small mask of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

Run = tuple[int, int]  # places [start, stop)

BUSH = 256  # places: branches that are together shorter are computed together, at the price of masking each other


@dataclass(frozen=True, slots=True)
class Block:
    """Queries at the places of `own`. Their keys: all of `before`, and those of `own` that are at or before the query
    and begin a subtree that the query is in. `chain`: that is all of `own` up to the query.
    """

    own: Run
    before: tuple[Run, ...]
    chain: bool

    @property
    def seen(self) -> int:
        """Keys before `own`."""
        return sum(stop - start for start, stop in self.before)


def blocks(ends: Sequence[int], bush: int = BUSH) -> list[Block]:
    """Cut a layout into blocks; together they hold every place once, in order.

    Args:
        ends: for each place, where the subtree of its token ends.
        bush: branches that hang on one token stay one block while they have at most so many places.
    """
    found: list[Block] = []
    waiting: list[tuple[Run, tuple[Run, ...]]] = [((0, len(ends)), ())]
    while waiting:
        (start, stop), before = waiting.pop()
        if start == stop:
            continue
        trees = _trees(ends, start, stop)
        if len(trees) > 1 and stop - start <= bush:
            found.append(Block((start, stop), before, chain=False))
        elif len(trees) > 1:
            waiting += [(tree, before) for tree in reversed(trees)]
        else:
            trunk = _trunk(ends, start, stop)
            found.append(Block((start, trunk), before, chain=True))
            waiting.append(((trunk, stop), (*before, (start, trunk))))
    return found


def cuts(found: Sequence[Block]) -> list[int]:
    """Lengths of the pieces that a layout falls into where its blocks begin."""
    return [stop - start for start, stop in (block.own for block in found)]


def _trees(ends: Sequence[int], start: int, stop: int) -> list[Run]:
    trees = []
    while start < stop:
        trees.append((start, ends[start]))
        start = ends[start]
    return trees


def _trunk(ends: Sequence[int], start: int, stop: int) -> int:
    """Where the first branch of a tree begins, or the tree ends."""
    at = start
    while at < stop and ends[at] == stop:
        at += 1
    return at
