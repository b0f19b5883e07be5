"""Shared prefixes: the examples of a step merged into a trie and laid out as one sequence. Free of torch.

Examples that begin alike (the same image under many questions, one prompt before many captions) share their first
tokens. Put the tokens of the trie in depth-first order and give each token the place where the subtree below it ends:

    query q sees key k   iff   k <= q < end[k]

that is, iff k is an ancestor of q or q itself. This one array is the whole attention mask of a tree, and of several
trees side by side. A token keeps the position it has in its own example, so every example is computed as it would be
alone, and the gradient of a shared token is the sum over the examples that share it.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of trie tokens without a branch: tokens [`start`, `stop`) of example `example`, laid out from `at`.

    `end` is the place in the layout where the subtree of the segment's tokens ends.
    """

    example: int
    start: int
    stop: int
    at: int
    subtree_end: int


@dataclass(frozen=True, slots=True)
class Trie:
    """Examples merged by their common beginnings.

    Attributes:
        segments: in depth-first order; together they lie on places 0 to `length`.
        paths: for each example, by its index in the input, the segments that spell it, in order.
        length: tokens of the layout, each shared token counted once.
        tokens: tokens of the examples laid out alone.
    """

    segments: tuple[Segment, ...]
    paths: tuple[tuple[int, ...], ...]
    length: int
    tokens: int

    @property
    def shared_tokens(self) -> int:
        """Tokens that need not be computed."""
        return self.tokens - self.length

    def subtree_ends(self) -> list[int]:
        """For each place of the layout, where the subtree of its token ends: the attention mask (see the module)."""
        ends = []
        for segment in self.segments:
            ends += [segment.subtree_end] * (segment.stop - segment.start)
        return ends

    def layout_indices(self, example: int) -> list[int]:
        """For each token of an example, its place in the layout."""
        indices: list[int] = []
        for index in self.paths[example]:
            segment = self.segments[index]
            indices += range(segment.at, segment.at + segment.stop - segment.start)
        return indices


def build_trie(sequences: Sequence[Sequence[int]]) -> Trie:
    """Merge token sequences into a trie.

    Args:
        sequences: one for each example, none of them empty. Tokens that are not interchangeable must differ: an image
            token is given as a number of its own for each image (see `mg_tui.engine.batching.packed_layout`).

    Returns:
        The trie; equal sequences share all their tokens. Its size is the least that sharing prefixes can give.

    Raises:
        ValueError: a sequence is empty.
    """
    if not all(len(sequence) for sequence in sequences):
        raise ValueError("an example without tokens cannot be laid out")
    tuples = [tuple(sequence) for sequence in sequences]
    order = sorted(range(len(tuples)), key=tuples.__getitem__)
    segments: list[_OpenSegment] = []
    paths: list[list[int]] = [[] for _ in sequences]
    stack: list[int] = []  # the segments on the way to the example before, by index
    previous: tuple[int, ...] = ()
    at = 0
    for index in order:
        sequence = tuples[index]
        depth = common_prefix_length(
            previous, sequence
        )  # in sorted order no other example before shares a longer prefix
        while stack and segments[stack[-1]].start >= depth:
            segments[stack.pop()].subtree_end = at
        if stack and segments[stack[-1]].stop > depth:
            _split_segment(segments, paths, stack, depth, at)
        if depth < len(sequence):
            segments.append(_OpenSegment(index, depth, len(sequence), at))
            stack.append(len(segments) - 1)
            at += len(sequence) - depth
        paths[index] = list(stack)
        previous = sequence
    for open_index in stack:
        segments[open_index].subtree_end = at
    return _finish(segments, paths, at, sum(map(len, tuples)))


def common_prefix_length(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """Length of the common prefix, by bisection: comparing slices is far faster than a loop over tokens."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


@dataclass(slots=True)
class _OpenSegment:
    """A segment while its subtree is still growing."""

    example: int
    start: int
    stop: int
    at: int
    subtree_end: int = -1


def _split_segment(segments: list[_OpenSegment], paths: list[list[int]], stack: list[int], depth: int, at: int) -> None:
    """Part the last segment of the stack at `depth`: its head stays open, its tail and what hangs on it is complete."""
    head_index = stack[-1]
    head = segments[head_index]
    tail = _OpenSegment(head.example, depth, head.stop, head.at + depth - head.start, subtree_end=at)
    head.stop = depth
    segments.append(tail)
    tail_index = len(segments) - 1
    for path in paths:
        if head_index in path:
            path.insert(path.index(head_index) + 1, tail_index)


def _finish(segments: list[_OpenSegment], paths: list[list[int]], length: int, tokens: int) -> Trie:
    order = sorted(range(len(segments)), key=lambda index: segments[index].at)
    rank = {index: place for place, index in enumerate(order)}
    closed = (Segment(s.example, s.start, s.stop, s.at, s.subtree_end) for s in (segments[index] for index in order))
    return Trie(tuple(closed), tuple(tuple(rank[index] for index in path) for path in paths), length, tokens)
