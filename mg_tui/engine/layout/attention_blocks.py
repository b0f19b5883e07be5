"""Cuts the attention of a packed layout into blocks that contain few masked entries. Free of torch.

A mask over the whole layout (see `trie`) is quadratic in its length, and nearly all of it is empty where images, or
branches, do not attend to each other. So the layout is cut into blocks: a run of queries, and the runs of keys before
it that all of them see. A block is a chain (each of its places sees those before it: no mask, and a causal kernel does
half the work), a bush of short branches, which gets a small mask of its own, or an image whose feature tokens all see
each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

Span = tuple[int, int]  # places [start, stop)

MAX_BRANCHING_BLOCK = (
    256  # places: branches that are together shorter are computed together, at the price of masking each other
)


@dataclass(frozen=True, slots=True)
class AttentionBlock:
    """Queries at the places of `own`. Their keys: all of `before`, and those of `own` that are at or before the query
    and begin a subtree that the query is in. `is_causal`: that is all of `own` up to the query.
    `is_image`: it is all of `own`.
    """

    queries: Span
    context: tuple[Span, ...]
    is_causal: bool
    is_image: bool = False

    @property
    def context_length(self) -> int:
        """Keys before `own`."""
        return sum(stop - start for start, stop in self.context)


def cut_blocks(
    ends: Sequence[int], bush: int = MAX_BRANCHING_BLOCK, *, images: Sequence[Span] = ()
) -> list[AttentionBlock]:
    """Cut a layout into blocks; together they hold every place once, in order.

    Args:
        ends: for each place, where the subtree of its token ends.
        bush: branches below one token stay one block up to this many places.
        images: places of feature tokens that all see each other; each lies on one chain.
    """
    blocks: list[AttentionBlock] = []
    pending: list[tuple[Span, tuple[Span, ...]]] = [((0, len(ends)), ())]
    while pending:
        (start, stop), before = pending.pop()
        if start == stop:
            continue
        trees = _subtrees(ends, start, stop)
        if len(trees) > 1 and stop - start <= bush:
            blocks.append(AttentionBlock((start, stop), before, is_causal=False))
        elif len(trees) > 1:
            pending += [(tree, before) for tree in reversed(trees)]
        else:
            trunk = _trunk_end(ends, start, stop)
            for piece, is_image in _cut_chain(start, trunk, images):
                blocks.append(AttentionBlock(piece, before, is_causal=not is_image, is_image=is_image))
                before = (*before, piece)
            pending.append(((trunk, stop), before))
    return blocks


def _cut_chain(start: int, stop: int, images: Sequence[Span]) -> list[tuple[Span, bool]]:
    """A chain cut where images begin and end: the pieces, and whether each is an image."""
    pieces = []
    at = start
    for first, last in images:
        if start <= first and last <= stop:
            pieces += [((at, first), False)] if at < first else []
            pieces.append(((first, last), True))
            at = last
    return [*pieces, ((at, stop), False)] if at < stop else pieces


def block_lengths(blocks: Sequence[AttentionBlock]) -> list[int]:
    """Lengths of the pieces that a layout falls into where its blocks begin."""
    return [stop - start for start, stop in (block.queries for block in blocks)]


def _subtrees(ends: Sequence[int], start: int, stop: int) -> list[Span]:
    trees = []
    while start < stop:
        trees.append((start, ends[start]))
        start = ends[start]
    return trees


def _trunk_end(ends: Sequence[int], start: int, stop: int) -> int:
    """Where the first branch of a tree begins, or the tree ends."""
    at = start
    while at < stop and ends[at] == stop:
        at += 1
    return at
