"""Keys and values of rows that decode together: a group's prefix stored once, and what each row has beyond it.

For a layer, of G groups and R rows:

    prefix   (G, heads, longest prefix, width)   computed once for all rows of the group
    own      (R, heads, longest tail + room, width)   the row's prompt beyond the prefix, then what it has generated

Shorter prefixes are padded at their end, shorter tails at their beginning, so that every row's next token goes to one
place. A query's scores over both parts go through one softmax: exactly the attention the row would have alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

ROOM: Final = 32  # places for generated tokens that are added at a time


Triple = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Places:
    """Where the tokens of a pass go: (place in the pass, group, place) of prefixes, (place, row, place) of tails."""

    prefix: Triple | None
    own: Triple | None


class PrefixCache:
    """The keys and values of some groups of rows. Memory is taken when a layer first stores something.

    Args:
        prefixes: tokens of each group's prefix.
        tails: for each row its group and its tokens beyond the prefix; rows of a group stand together, groups in order.
        most_new: tokens that a row may generate.
        device: of the tensors.
    """

    def __init__(
        self, prefixes: Sequence[int], tails: Sequence[tuple[int, int]], *, most_new: int, device: torch.device | str
    ):
        self.generated = 0
        self._prefixes = list(prefixes)
        self._tails = list(tails)
        self._most_new = most_new
        self._device = torch.device(device)
        self._longest_prefix = max(prefixes)
        self._longest_tail = max(tail for _group, tail in tails)
        self._room = min(most_new, ROOM)
        self._prefix: dict[int, tuple[Tensor, Tensor]] = {}
        self._own: dict[int, tuple[Tensor, Tensor]] = {}
        self._map()

    @property
    def rows(self) -> int:
        """Rows that are still there."""
        return len(self._tails)

    @property
    def tokens(self) -> int:
        """Places of one layer that have memory, or will have when every row has generated all it may."""
        return _places(self._prefixes, self._tails, self._most_new)

    def store(self, layer: int, key: Tensor, value: Tensor, places: Places) -> None:
        """Keep what a pass over prompts has computed.

        Args:
            layer: its number.
            key, value: (1, heads, L, width), of the pass.
            places: where they go.
        """
        prefix, own = self._memory(layer, key, value)
        for given, whole, single in zip((key[0], value[0]), prefix, own, strict=True):
            by_place = given.transpose(0, 1)  # (L, heads, width)
            if places.prefix is not None:
                source, group, at = places.prefix
                whole[group, :, at] = by_place[source]
            if places.own is not None:
                source, row, at = places.own
                single[row, :, at] = by_place[source]

    def places(self, prefix: Sequence[tuple[int, Sequence[int]]], own: Sequence[tuple[int, Sequence[int]]]) -> Places:
        """Where the tokens of a pass go.

        Args:
            prefix: (group, places in the pass of its prefix).
            own: (row, places in the pass of its tail).
        """
        return Places(
            self._indices([(group, found, 0) for group, found in prefix]),
            self._indices([(row, found, self._longest_tail - len(found)) for row, found in own]),
        )

    def make_room(self) -> None:
        """See to it that one more token of each row has a place."""
        if self.generated < self._room:
            return
        more = min(ROOM, max(self._most_new - self._room, 1))
        self._room += more
        for layer, pair in self._own.items():
            grown = tuple(torch.cat([one, one.new_zeros((*one.shape[:2], more, one.shape[3]))], dim=2) for one in pair)
            self._own[layer] = (grown[0], grown[1])
            del pair, grown
        self._map()

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Store the keys and values of each row's newest token, and attend from it to all that the row has.

        Args:
            layer: its number.
            query: (rows, heads of queries, width).
            key, value: (rows, heads, width).
            scale: of the scores.

        Returns:
            (rows, heads of queries, width).
        """
        prefix_key, prefix_value = self._prefix[layer]
        at = self._longest_tail + self.generated
        own_key, own_value = self._own[layer]
        own_key[:, :, at], own_value[:, :, at] = key, value
        own_key, own_value = own_key[:, :, : at + 1], own_value[:, :, : at + 1]

        rows, heads, width = query.shape
        grouped = query.view(rows, key.shape[1], heads // key.shape[1], width)
        before = self._by_row(self._by_group(grouped) @ prefix_key.transpose(-1, -2))
        scores = torch.cat([before, grouped @ own_key.transpose(-1, -2)], dim=-1).float().mul_(scale)
        if self._padding is not None:
            scores += self._padding[..., : scores.shape[-1]]
        weights = scores.softmax(-1).to(value.dtype)
        length = prefix_key.shape[2]
        found = weights[..., length:] @ own_value
        found += self._by_row(self._by_group(weights[..., :length]) @ prefix_value)
        return found.view(rows, heads, -1)

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all rows but these, which are in order; a prefix goes when at most half of the groups have rows."""
        chosen = torch.tensor(rows, dtype=torch.long, device=self._device)
        self._tails = [self._tails[row] for row in rows]
        for layer, pair in self._own.items():
            self._own[layer] = (pair[0].index_select(0, chosen), pair[1].index_select(0, chosen))
            del pair
        alive = sorted({group for group, _tail in self._tails})
        if len(alive) <= len(self._prefixes) / 2:
            self._keep_groups(alive)
        self._map()

    def _keep_groups(self, alive: list[int]) -> None:
        chosen = torch.tensor(alive, dtype=torch.long, device=self._device)
        self._prefixes = [self._prefixes[group] for group in alive]
        self._tails = [(alive.index(group), tail) for group, tail in self._tails]
        longest = max(self._prefixes, default=0)
        for layer, pair in self._prefix.items():
            self._prefix[layer] = (
                pair[0][:, :, :longest].index_select(0, chosen),
                pair[1][:, :, :longest].index_select(0, chosen),
            )
            del pair
        self._longest_prefix = longest

    def _memory(self, layer: int, key: Tensor, value: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        if layer not in self._prefix:
            # Zeros, since what is padding is multiplied by a weight of zero: what was there before may be no number.
            length = self._longest_tail + self._room
            groups, rows = len(self._prefixes), len(self._tails)
            for kept, count, longest in ((self._prefix, groups, self._longest_prefix), (self._own, rows, length)):
                made = [one.new_zeros((count, one.shape[1], longest, one.shape[3])) for one in (key, value)]
                kept[layer] = (made[0], made[1])
        return self._prefix[layer], self._own[layer]

    def _map(self) -> None:
        """Where rows stand among groups, and which places are padding; again when either changes."""
        counts = [0] * len(self._prefixes)
        numbers = []  # of each row within its group
        for group, _tail in self._tails:
            numbers.append(counts[group])
            counts[group] += 1
        most = max(counts, default=0)
        self._most_rows = most
        self._regular = all(count == most for count in counts)
        slots = [group * most + number for (group, _tail), number in zip(self._tails, numbers, strict=True)]
        row_at = [0] * (len(counts) * most)
        for row, slot in enumerate(slots):
            row_at[slot] = row
        self._slot_of_row = torch.tensor(slots, dtype=torch.long, device=self._device)
        self._row_at_slot = torch.tensor(row_at, dtype=torch.long, device=self._device)
        self._padding = self._padding_of_rows()

    def _padding_of_rows(self) -> Tensor | None:
        prefixes = [self._prefixes[group] for group, _tail in self._tails]
        tails = [tail for _group, tail in self._tails]
        if all(n == self._longest_prefix for n in prefixes) and all(n == self._longest_tail for n in tails):
            return None
        length = self._longest_prefix + self._longest_tail + self._room
        at = torch.arange(length, device=self._device)
        ends, begins = (torch.tensor(numbers, device=self._device)[:, None] for numbers in (prefixes, tails))
        padded = (at >= ends) & (at < self._longest_prefix + self._longest_tail - begins)
        found = torch.zeros((len(prefixes), length), device=self._device).masked_fill_(padded, float("-inf"))
        return found[:, None, None]

    def _by_group(self, by_row: Tensor) -> Tensor:
        """(rows, heads, n, m) to (groups, heads, rows of a group x n, m); where a group has fewer, others fill in."""
        if not self._regular:
            by_row = by_row.index_select(0, self._row_at_slot)
        _rows, heads, n, m = by_row.shape
        apart = by_row.view(-1, self._most_rows, heads, n, m)
        return apart.transpose(1, 2).reshape(len(apart), heads, self._most_rows * n, m)

    def _by_row(self, by_group: Tensor) -> Tensor:
        """The way back."""
        groups, heads, n, m = by_group.shape
        apart = by_group.view(groups, heads, self._most_rows, n // self._most_rows, m).transpose(1, 2)
        by_slot = apart.reshape(groups * self._most_rows, heads, n // self._most_rows, m)
        return by_slot if self._regular else by_slot.index_select(0, self._slot_of_row)

    def _indices(self, runs: Sequence[tuple[int, Sequence[int], int]]) -> Triple | None:
        """(place in the pass, number of the group or row, place there) of each token of some runs."""
        source = [place for _number, found, _start in runs for place in found]
        if not source:
            return None
        number = [number for number, found, _start in runs for _place in found]
        at = [start + offset for _number, found, start in runs for offset in range(len(found))]
        made = [torch.tensor(one, dtype=torch.long, device=self._device) for one in (source, number, at)]
        return made[0], made[1], made[2]


def _places(prefixes: Sequence[int], tails: Sequence[tuple[int, int]], most_new: int) -> int:
    own = max((tail for _group, tail in tails), default=0) + most_new
    return len(prefixes) * max(prefixes, default=0) + len(tails) * own
