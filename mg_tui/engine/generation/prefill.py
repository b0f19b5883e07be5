"""Prompts read: rows that will decode together, in as few forward passes as a budget of tokens allows.

In a pass every shared token is computed once, whatever group its rows belong to (see `layout.trie`); what is kept of it
is kept once for each group. Only the last token of each prompt goes through the rest of the last layer and the output
layer: its logits are those of the first generated token.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mg_tui.engine.compute import attention as trees
from mg_tui.engine.generation.forward import Forward
from mg_tui.engine.generation.images import ImageFeatures
from mg_tui.engine.generation.prefix_cache import Places, PrefixCache
from mg_tui.engine.generation.rows import Row
from mg_tui.engine.layout.packing import pack
from mg_tui.engine.layout.trie import Trie, build


@dataclass(frozen=True, slots=True)
class GroupOfRows:
    """Rows whose prompts share their first `shared` tokens."""

    rows: tuple[Row, ...]
    shared: int

    @property
    def places(self) -> int:
        """Places of a layer that the group needs when every row generates all it may."""
        return self.shared + sum(len(row.prompt.ids) - self.shared + row.sampling.max_new_tokens for row in self.rows)


@dataclass(slots=True)
class Block:
    """Rows that began together, in groups; those of them that have not ended, in order, and their cache."""

    groups: tuple[GroupOfRows, ...]
    rows: list[Row]
    cache: PrefixCache

    def unfinished(self) -> list[GroupOfRows]:
        """The groups without the rows that have ended."""
        left = ((tuple(row for row in group.rows if row.ended is None), group.shared) for group in self.groups)
        return [GroupOfRows(rows, shared) for rows, shared in left if rows]


def prefill(
    forward: Forward,
    groups: Sequence[GroupOfRows],
    images: ImageFeatures,
    *,
    budget: int,
    enough: int | None,
    each: Callable[[Sequence[Row], Tensor], None],
) -> Block:
    """Read the prompts of some groups.

    Args:
        forward: the model, ready.
        groups: what decodes together.
        images: gives the features of images.
        budget: most tokens of a forward pass; a longer row goes alone.
        enough: see `packing.pack`.
        each: told after each pass which rows it had, and the logits (rows, vocabulary) of their first tokens.
    """
    rows = [row for group in groups for row in group.rows]
    group_of = [number for number, group in enumerate(groups) for _row in group.rows]
    cache = PrefixCache(
        [group.shared for group in groups],
        [(number, len(row.prompt.ids) - groups[number].shared) for number, row in zip(group_of, rows, strict=True)],
        most_new=max(row.sampling.max_new_tokens for row in rows),
        device=forward.device,
    )
    for part in pack([row.prompt.key for row in rows], budget, enough=enough):
        began = time.monotonic()
        trie = build([rows[index].prompt.key for index in part])
        paths = [trie.places(number) for number in range(len(part))]
        places = _places(cache, groups, group_of, part, paths)
        ids, positions = _tokens(trie, [rows[index] for index in part], forward.device)
        lasts = [path[-1] for path in paths]
        wanted = sorted(set(lasts))
        for index in part:
            rows[index].began = began
        shown = _shown(trie, [rows[index] for index in part])
        features = images.features(shown)
        reading = _Reading(cache, places, torch.tensor(trie.ends(), device=forward.device))
        logits = forward.prompts(ids, positions, wanted, [features[path] for path in shown], reading)
        if wanted != lasts:  # rows in another order, or equal prompts
            logits = logits[[wanted.index(place) for place in lasts]]
        del features
        each([rows[index] for index in part], logits)
    return Block(tuple(groups), rows, cache)


class _Reading:
    """Attention over a layout of prompts, which keeps the keys and values it meets."""

    def __init__(self, cache: PrefixCache, places: Places, ends: Tensor):
        self._cache = cache
        self._places = places
        self._mask = trees.as_mask(ends)

    def attend(self, layer: int, module: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """See `attention.Attending`."""
        self._cache.store(layer, key, value, self._places)
        return trees.tree_attention(module, query, key, value, self._mask, scaling=scale)[0]


def _places(
    cache: PrefixCache,
    groups: Sequence[GroupOfRows],
    group_of: Sequence[int],
    part: Sequence[int],
    paths: Sequence[Sequence[int]],
) -> Places:
    """Where a pass's tokens go: each group's prefix by the first of its rows in the pass, and every row's tail."""
    prefix: dict[int, Sequence[int]] = {}
    own: list[tuple[int, Sequence[int]]] = []
    for index, path in zip(part, paths, strict=True):
        shared = groups[group_of[index]].shared
        prefix.setdefault(group_of[index], path[:shared])
        own.append((index, path[shared:]))
    return cache.places(list(prefix.items()), own)


def _tokens(trie: Trie, rows: Sequence[Row], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids (L,) and positions (axes, L) of a layout."""
    axes = len(rows[0].prompt.positions)
    ids: list[int] = []
    positions: list[list[int]] = [[] for _axis in range(axes)]
    for segment in trie.segments:
        prompt = rows[segment.example].prompt
        ids += prompt.ids[segment.start : segment.stop]
        for axis, values in zip(positions, prompt.positions, strict=True):
            axis += values[segment.start : segment.stop]
    return torch.tensor(ids, device=device), torch.tensor(positions, device=device)


def _shown(trie: Trie, rows: Sequence[Row]) -> list[str]:
    """Paths of the images in the order the layout shows them; one may be shown after different beginnings."""
    found: list[str] = []
    for segment in trie.segments:
        prompt = rows[segment.example].prompt
        for at in range(segment.start, segment.stop):
            number = prompt.shown[at]
            if number >= 0 and (at == 0 or prompt.shown[at - 1] != number):
                found.append(prompt.images[number])
    return found
