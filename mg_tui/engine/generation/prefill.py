"""Prefill: the prompts of rows that will be decoded together, in as few forward passes as the token budget allows.

In a pass every shared token is computed once, also across groups (see `layout.trie`); its keys and values are stored
once per group. Only the last token of each prompt goes through the rest of the last layer and the output layer, for the
logits of the first generated token.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mg_tui.engine.batching.packed_layout import tree_paths
from mg_tui.engine.compute.attention import to_attention_mask, tree_attention
from mg_tui.engine.generation.attention import LayerCall
from mg_tui.engine.generation.budget import GenerationBudget
from mg_tui.engine.generation.image_features import ImageFeatures
from mg_tui.engine.generation.model_runner import ModelRunner
from mg_tui.engine.generation.prefix_cache import CachePlaces, PrefixCache
from mg_tui.engine.generation.row_state import RowState
from mg_tui.engine.layout.packing import pack
from mg_tui.engine.layout.trie import Trie, build_trie
from mg_tui.families.split_encoding import find_image_starts


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows whose prompts share their first `shared` tokens."""

    rows: tuple[RowState, ...]
    shared: int

    @property
    def kv_tokens(self) -> int:
        """Tokens whose keys and values are stored when every row generates as many as it may."""
        return self.shared + sum(len(row.prompt.ids) - self.shared + row.sampling.max_new_tokens for row in self.rows)


@dataclass(slots=True)
class DecodeBatch:
    """Rows that were prefilled together: all groups, the unfinished rows in the order of the cache, and the cache."""

    groups: tuple[RowGroup, ...]
    rows: list[RowState]
    cache: PrefixCache

    def unfinished_groups(self) -> list[RowGroup]:
        """The groups without their finished rows."""
        remaining = [
            RowGroup(tuple(row for row in group.rows if row.finish_reason is None), group.shared)
            for group in self.groups
        ]
        return [group for group in remaining if group.rows]


def prefill(
    runner: ModelRunner,
    groups: Sequence[RowGroup],
    images: ImageFeatures,
    budget: GenerationBudget,
    on_logits: Callable[[Sequence[RowState], Tensor], None],
) -> DecodeBatch:
    """Prefill the prompts of some groups.

    Args:
        runner: active.
        groups: the rows that will be decoded together.
        images: provides features.
        budget: of the forward passes.
        on_logits: called after each pass with its rows, and the logits (rows, vocabulary) of their first tokens.
    """
    rows = [row for group in groups for row in group.rows]
    group_of = [number for number, group in enumerate(groups) for _row in group.rows]
    cache = PrefixCache(
        [group.shared for group in groups],
        [(number, len(row.prompt.ids) - groups[number].shared) for number, row in zip(group_of, rows, strict=True)],
        max_new_tokens=max(row.sampling.max_new_tokens for row in rows),
        device=runner.device,
    )
    keys = [row.prompt.key for row in rows]
    for indices in pack(keys, budget.prefill_tokens, sufficient_tokens=budget.sufficient_tokens):
        pass_rows = [rows[index] for index in indices]
        started = time.monotonic()
        for row in pass_rows:
            row.started = started
        trie = build_trie([keys[index] for index in indices])
        paths = [trie.layout_indices(number) for number in range(len(indices))]
        ids, positions = _lay_out(trie, pass_rows, runner.device)
        image_order = _image_order(trie, pass_rows)
        features = images.get(image_order)
        layers = _PrefillAttention(
            cache,
            _cache_places(cache, groups, group_of, indices, paths),
            tree_paths(trie, [row.prompt.blocks for row in pass_rows], images.family.attention).to(runner.device),
        )
        last_places = [path[-1] for path in paths]
        distinct = sorted(set(last_places))
        logits = runner.prefill_logits(ids, positions, distinct, [features[path] for path in image_order], layers)
        del features
        if distinct != last_places:  # another order, or equal prompts
            logits = logits[[distinct.index(place) for place in last_places]]
        on_logits(pass_rows, logits)
    return DecodeBatch(tuple(groups), rows, cache)


class _PrefillAttention:
    """Attention over a layout of prompts; stores keys and values."""

    def __init__(self, cache: PrefixCache, places: CachePlaces, paths: Tensor):
        self._cache = cache
        self._places = places
        self._mask = to_attention_mask(paths)

    def attend(self, layer: LayerCall, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """See `attention.AttentionLayers`."""
        self._cache.store(layer.index, key, value, self._places)
        options: dict[str, Any] = {"scaling": layer.scale, "sliding_window": layer.window}
        return tree_attention(layer.module, query, key, value, self._mask, **options)[0]


def _cache_places(
    cache: PrefixCache,
    groups: Sequence[RowGroup],
    group_of: Sequence[int],
    indices: Sequence[int],
    paths: Sequence[Sequence[int]],
) -> CachePlaces:
    """Where a pass's tokens are stored: each group's prefix, from its first row in the pass, and every row's tail."""
    prefixes: dict[int, Sequence[int]] = {}
    tails: list[tuple[int, Sequence[int]]] = []
    for index, path in zip(indices, paths, strict=True):
        shared = groups[group_of[index]].shared
        prefixes.setdefault(group_of[index], path[:shared])
        tails.append((index, path[shared:]))
    return cache.places_of(list(prefixes.items()), tails)


def _lay_out(trie: Trie, rows: Sequence[RowState], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids (L,) and positions (axes, L) of a layout."""
    ids: list[int] = []
    positions: list[list[int]] = [[] for _axis in rows[0].prompt.positions]
    for segment in trie.segments:
        prompt = rows[segment.example].prompt
        ids += prompt.ids[segment.start : segment.stop]
        for axis, values in zip(positions, prompt.positions, strict=True):
            axis += values[segment.start : segment.stop]
    return torch.tensor(ids, device=device), torch.tensor(positions, device=device)


def _image_order(trie: Trie, rows: Sequence[RowState]) -> list[str]:
    """Paths of the images in the order of the layout; one may occur after several prefixes."""
    order: list[str] = []
    for segment in trie.segments:
        prompt = rows[segment.example].prompt
        for at, image in find_image_starts(prompt.image_index):
            if segment.start <= at < segment.stop:
                order.append(prompt.images[image])
    return order
