"""Keys and values of rows that are decoded together: the prefix of each group once, and the rest of each row.

For one layer, G groups and R rows:

    prefix   (G, heads, longest prefix, width)   shared by the rows of a group
    own      (R, heads, longest tail + room, width)   the row's prompt beyond the prefix, then its generated tokens

Shorter prefixes are padded on the right and shorter tails on the left, so the next token of every row is stored at the
same place. One softmax covers both parts: the attention is exactly that of the row alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

ROOM: Final = 32  # generated tokens for which memory is allocated at a time

_Pair = tuple[Tensor, Tensor]  # keys and values
_Indices = tuple[Tensor, Tensor, Tensor]  # place in the pass, group or row, place there


@dataclass(frozen=True, slots=True)
class CachePlaces:
    """Where the tokens of a pass are stored; None if a part has none."""

    prefix: _Indices | None
    own: _Indices | None


class PrefixCache:
    """The cache of some groups of rows. Memory of a layer is allocated when it first stores something.

    Args:
        prefixes: length of each group's prefix.
        tails: for each row its group, and the length of its prompt beyond the prefix; ordered by group.
        max_new_tokens: that a row may generate.
        device: of the tensors.
    """

    def __init__(
        self,
        prefixes: Sequence[int],
        tails: Sequence[tuple[int, int]],
        *,
        max_new_tokens: int,
        device: torch.device | str,
    ):
        self.generated = 0
        self._prefixes = list(prefixes)
        self._tails = list(tails)
        self._max_new_tokens = max_new_tokens
        self._device = torch.device(device)
        self._longest_prefix = max(prefixes)
        self._longest_tail = max(tail for _group, tail in tails)
        self._room = min(max_new_tokens, ROOM)
        self._prefix: dict[int, _Pair] = {}
        self._own: dict[int, _Pair] = {}
        self._index_rows()

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self._tails)

    @property
    def kv_tokens(self) -> int:
        """Tokens of one layer with memory, including what the rows may still generate."""
        own = self._longest_tail + self._max_new_tokens
        return len(self._prefixes) * self._longest_prefix + len(self._tails) * own

    def places_of(
        self, prefixes: Sequence[tuple[int, Sequence[int]]], tails: Sequence[tuple[int, Sequence[int]]]
    ) -> CachePlaces:
        """Where the tokens of a pass are stored.

        Args:
            prefixes: (group, places of its prefix in the pass).
            tails: (row, places of its tail in the pass).
        """
        return CachePlaces(
            self._indices([(group, places, 0) for group, places in prefixes]),
            self._indices([(row, places, self._longest_tail - len(places)) for row, places in tails]),
        )

    def store(self, layer: int, key: Tensor, value: Tensor, places: CachePlaces) -> None:
        """Store the keys and values of a pass over prompts.

        Args:
            layer: its index.
            key, value: (1, heads, L, width).
            places: see `places_of`.
        """
        prefix, own = self._allocate(layer, key, value)
        for new, prefix_part, own_part in zip((key[0], value[0]), prefix, own, strict=True):
            by_place = new.transpose(0, 1)  # (L, heads, width)
            for target, indices in ((prefix_part, places.prefix), (own_part, places.own)):
                if indices is not None:
                    source, number, place = indices
                    target[number, :, place] = by_place[source]

    def ensure_room(self) -> None:
        """Allocate memory for one more token per row."""
        if self.generated < self._room:
            return
        more = min(ROOM, max(self._max_new_tokens - self._room, 1))
        self._room += more
        for layer in self._own:
            key, value = (
                torch.cat([part, part.new_zeros((*part.shape[:2], more, part.shape[3]))], dim=2)
                for part in self._own[layer]
            )
            self._own[layer] = (key, value)
        self._padding = self._make_padding()

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None = None
    ) -> Tensor:
        """Store the keys and values of each row's newest token, and compute its attention.

        Args:
            layer: its index.
            query: (rows, query heads, width).
            key, value: (rows, heads, width).
            scale: of the scores.
            window: the most tokens of its row that the newest sees, itself included; None: all.

        Returns:
            (rows, query heads, width).
        """
        prefix_key, prefix_value = self._prefix[layer]
        own_key, own_value = self._own[layer]
        place = self._longest_tail + self.generated
        own_key[:, :, place], own_value[:, :, place] = key, value
        own_key, own_value = own_key[:, :, : place + 1], own_value[:, :, : place + 1]

        rows, heads, width = query.shape
        grouped = query.view(rows, key.shape[1], heads // key.shape[1], width)
        prefix_scores = self._to_rows(self._to_groups(grouped) @ prefix_key.transpose(-1, -2))
        scores = torch.cat([prefix_scores, grouped @ own_key.transpose(-1, -2)], dim=-1).float().mul_(scale)
        if self._padding is not None:
            scores += self._padding[..., : scores.shape[-1]]
        if window is not None:
            scores = scores.masked_fill(~self._in_window(window, scores.shape[-1]), float("-inf"))
        weights = scores.softmax(-1).to(value.dtype)
        length = prefix_key.shape[2]
        output = weights[..., length:] @ own_value
        output += self._to_rows(self._to_groups(weights[..., :length]) @ prefix_value)
        return output.view(rows, heads, -1)

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Free all rows but these (sorted); prefixes are freed when at most half of the groups still have rows."""
        kept = torch.tensor(rows, dtype=torch.long, device=self._device)
        self._tails = [self._tails[row] for row in rows]
        for layer in self._own:
            key, value = self._own[layer]
            self._own[layer] = (key.index_select(0, kept), value.index_select(0, kept))
        groups = sorted({group for group, _tail in self._tails})
        if len(groups) <= len(self._prefixes) / 2:
            self._keep_groups(groups)
        self._index_rows()

    def _keep_groups(self, groups: list[int]) -> None:
        kept = torch.tensor(groups, dtype=torch.long, device=self._device)
        self._prefixes = [self._prefixes[group] for group in groups]
        self._tails = [(groups.index(group), tail) for group, tail in self._tails]
        self._longest_prefix = max(self._prefixes, default=0)
        for layer in self._prefix:
            key, value = (part[:, :, : self._longest_prefix].index_select(0, kept) for part in self._prefix[layer])
            self._prefix[layer] = (key, value)

    def _allocate(self, layer: int, key: Tensor, value: Tensor) -> tuple[_Pair, _Pair]:
        if layer not in self._prefix:
            prefix_shape = len(self._prefixes), self._longest_prefix
            own_shape = len(self._tails), self._longest_tail + self._room
            for part, (count, length) in ((self._prefix, prefix_shape), (self._own, own_shape)):
                # Zeros: padding is multiplied by a weight of zero, and uninitialized memory may contain NaN.
                new_key, new_value = (x.new_zeros((count, x.shape[1], length, x.shape[3])) for x in (key, value))
                part[layer] = (new_key, new_value)
        return self._prefix[layer], self._own[layer]

    def _index_rows(self) -> None:
        """Map rows to the grid of groups and their rows; after a change of either."""
        counts = [0] * len(self._prefixes)
        ranks = []  # of each row in its group
        for group, _tail in self._tails:
            ranks.append(counts[group])
            counts[group] += 1
        self._rows_per_group = max(counts, default=0)
        self._is_full_grid = all(count == self._rows_per_group for count in counts)
        cells = [group * self._rows_per_group + rank for (group, _tail), rank in zip(self._tails, ranks, strict=True)]
        row_of_cell = [0] * (len(counts) * self._rows_per_group)
        for row, cell in enumerate(cells):
            row_of_cell[cell] = row
        self._cell_of_row = torch.tensor(cells, dtype=torch.long, device=self._device)
        self._row_of_cell = torch.tensor(row_of_cell, dtype=torch.long, device=self._device)
        self._padding = self._make_padding()

    def _make_padding(self) -> Tensor | None:
        """(rows, 1, 1, prefix + own) float32, -inf at padding; None if there is no padding."""
        prefixes, tails = self._lengths()
        if all(n == self._longest_prefix for n in prefixes) and all(n == self._longest_tail for n in tails):
            return None
        length = self._longest_prefix + self._longest_tail + self._room
        place = torch.arange(length, device=self._device)
        prefix, tail = (torch.tensor(lengths, device=self._device)[:, None] for lengths in (prefixes, tails))
        is_padding = (place >= prefix) & (place < self._longest_prefix + self._longest_tail - tail)
        padding = torch.zeros((len(prefixes), length), device=self._device).masked_fill_(is_padding, float("-inf"))
        return padding[:, None, None]

    def _in_window(self, window: int, length: int) -> Tensor:
        """(rows, 1, 1, prefix + own) whether a place holds one of the last `window` tokens of its row.

        A row's token n is at place n of the prefix, or at its tail, whose padding is on the left.
        """
        prefix, tail = (torch.tensor(values, device=self._device)[:, None] for values in self._lengths())
        place = torch.arange(length, device=self._device)[None]
        own = place - self._longest_prefix - (self._longest_tail - tail) + prefix
        depth = torch.where(place < self._longest_prefix, place, own)
        newest = prefix + tail + self.generated
        return (newest - depth < window)[:, None, None]

    def _lengths(self) -> tuple[list[int], list[int]]:
        """For each row, tokens of its prefix and of its tail."""
        return [self._prefixes[group] for group, _tail in self._tails], [tail for _group, tail in self._tails]

    def _to_groups(self, by_row: Tensor) -> Tensor:
        """(rows, heads, n, m) to (groups, heads, rows per group x n, m); empty cells repeat a row."""
        if not self._is_full_grid:
            by_row = by_row.index_select(0, self._row_of_cell)
        _rows, heads, n, m = by_row.shape
        grid = by_row.view(-1, self._rows_per_group, heads, n, m)
        return grid.transpose(1, 2).reshape(len(grid), heads, self._rows_per_group * n, m)

    def _to_rows(self, by_group: Tensor) -> Tensor:
        """The inverse of `_to_groups`."""
        groups, heads, n, m = by_group.shape
        per_row = n // self._rows_per_group
        grid = by_group.view(groups, heads, self._rows_per_group, per_row, m).transpose(1, 2)
        by_cell = grid.reshape(groups * self._rows_per_group, heads, per_row, m)
        return by_cell if self._is_full_grid else by_cell.index_select(0, self._cell_of_row)

    def _indices(self, runs: Sequence[tuple[int, Sequence[int], int]]) -> _Indices | None:
        """Indices of runs of (group or row, places in the pass, first place there)."""
        source = [place for _number, places, _first in runs for place in places]
        if not source:
            return None
        number = [number for number, places, _first in runs for _place in places]
        target = [first + offset for _number, places, first in runs for offset in range(len(places))]
        indices = torch.tensor([source, number, target], dtype=torch.long, device=self._device)
        return indices[0], indices[1], indices[2]
