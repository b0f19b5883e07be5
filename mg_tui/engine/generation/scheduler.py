"""Scheduling: rows are prefilled while the budget has room, decoded together, and removed when they are finished.

Rows that were prefilled together form a batch with its own cache; a decode step adds one token to every row of all
batches. Out of memory returns the newest rows to the queue and halves the budget; they are restarted later, with the
same answers.
"""

import gc
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from mg_tui.core.errors import EnvironmentProblem, GardenError
from mg_tui.core.text import first_line
from mg_tui.engine.generation.attention import LayerCall
from mg_tui.engine.generation.budget import GenerationBudget, is_out_of_memory
from mg_tui.engine.generation.image_features import ImageFeatures
from mg_tui.engine.generation.model_runner import ModelRunner
from mg_tui.engine.generation.prefill import DecodeBatch, RowGroup, prefill
from mg_tui.engine.generation.prefix_cache import PrefixCache
from mg_tui.engine.generation.prompts import name_row
from mg_tui.engine.generation.row_state import RowState
from mg_tui.engine.generation.sampling import sample_tokens

_REFILL_FRACTION: Final = 4  # rows are prefilled when a quarter of the budget is free: fewer, larger batches


class Scheduler:
    """Generates tokens for the rows it is given.

    Args:
        runner: the model.
        images: provides features; every row's images are reserved there.
        budget: limits.
        end_tokens: ids.
    """

    def __init__(
        self, runner: ModelRunner, images: ImageFeatures, budget: GenerationBudget, end_tokens: frozenset[int]
    ):
        self.budget = budget
        self._runner = runner
        self._images = images
        self._end_tokens = end_tokens
        self._queue: deque[RowGroup] = deque()
        self._batches: list[DecodeBatch] = []
        self._finished: list[RowState] = []

    def add(self, groups: Sequence[RowGroup]) -> None:
        """Append rows to the queue."""
        self._queue.extend(groups)

    @property
    def waiting(self) -> int:
        """Number of rows in the queue."""
        return sum(len(group.rows) for group in self._queue)

    @property
    def decoding(self) -> int:
        """Number of rows being decoded."""
        return sum(len(batch.rows) for batch in self._batches)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing left to do."""
        return not self._queue and not self._batches

    def step(self) -> list[RowState]:
        """Prefill waiting rows if there is room, or else decode one token per row; returns the finished rows.

        Raises:
            EnvironmentProblem: one row alone does not fit into memory; it is named.
        """
        with self._runner.active():
            if not self._prefill_next():
                self._decode()
        finished, self._finished = self._finished, []
        return finished

    def cancel(self, rows: Collection[RowState]) -> None:
        """Remove rows, waiting or being decoded, whose answers nobody needs any more; `step` does not return them."""
        for row in (row for group in self._queue for row in group.rows if row in rows):
            self._images.release(row.prompt.images)
        remaining = [RowGroup(tuple(row for row in g.rows if row not in rows), g.shared) for g in self._queue]
        self._queue = deque(group for group in remaining if group.rows)
        for batch in self._batches:
            kept = [number for number, row in enumerate(batch.rows) if row not in rows]
            if len(kept) < len(batch.rows):
                batch.rows = [batch.rows[number] for number in kept]
                # A returned batch is built from its groups: these rows must not come back.
                batch.groups = tuple(
                    RowGroup(tuple(row for row in group.rows if row not in rows), group.shared)
                    for group in batch.groups
                )
                if kept:
                    batch.cache.keep_rows(kept)
        self._batches = [batch for batch in self._batches if batch.rows]

    @property
    def next_rows(self) -> tuple[RowState, ...]:
        """The rows at the front of the queue; if `step` fails and nothing is being decoded, those it failed on."""
        return self._queue[0].rows if self._queue else ()

    @property
    def decoding_rows(self) -> list[RowState]:
        """The rows being decoded."""
        return [row for batch in self._batches for row in batch.rows]

    def close(self) -> None:
        """Free everything on the device."""
        self._queue.clear()
        self._batches.clear()
        self._finished.clear()
        self._images.clear()
        if self._runner.device.type == "cuda":
            torch.cuda.empty_cache()

    # --- prefill --------------------------------------------------------------------------------------------------
    def _prefill_next(self) -> bool:
        """Prefill the next groups; false if there is no room, or they could not be prefilled."""
        groups = self._take_fitting()
        if not groups:
            return False
        batch, unreadable, memory_error = None, None, ""
        try:
            batch = prefill(self._runner, groups, self._images, self.budget, self._append_tokens)
        except GardenError as error:
            unreadable = error
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            memory_error = first_line(error)
        # Handled after the except blocks, whose exceptions hold tensors of the failed pass.
        if batch is None:
            self._requeue(groups)
            if unreadable is not None:
                self._remove_unreadable(groups, unreadable)
            else:
                self._shrink([row for group in groups for row in group.rows], groups, memory_error)
            return False
        for row in batch.rows:
            self._images.release(row.prompt.images)
        self._batches.append(batch)
        self._remove_finished()
        return True

    def _take_fitting(self) -> list[RowGroup]:
        """Remove the groups that fit into the budget from the front of the queue."""
        rows = self.budget.rows - self.decoding
        if rows < (max(1, self.budget.rows // _REFILL_FRACTION) if self._batches else 1):
            return []
        kv_tokens = self.budget.kv_tokens - sum(batch.cache.kv_tokens for batch in self._batches)
        taken: list[RowGroup] = []
        while self._queue:
            group = self._queue[0]
            if len(group.rows) > rows or group.kv_tokens > kv_tokens:
                if taken or self._batches:
                    break
                group = _fitting_part(group, rows, kv_tokens)  # nothing else is in memory: at least one row of it
            rest = self._queue.popleft().rows[len(group.rows) :]
            if rest:
                self._queue.appendleft(RowGroup(rest, group.shared))
            taken.append(group)
            rows -= len(group.rows)
            kv_tokens -= group.kv_tokens
        return taken

    # --- decoding -------------------------------------------------------------------------------------------------
    def _decode(self) -> None:
        """Decode one token per row."""
        rows = [row for batch in self._batches for row in batch.rows]
        if not rows:
            return
        logits, memory_error = None, ""
        try:
            logits = self._decode_logits(rows)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            memory_error = first_line(error)
        if logits is None:
            self._drop_newest(rows, memory_error)
            return
        for batch in self._batches:
            batch.cache.generated += 1
        self._append_tokens(rows, logits)
        self._remove_finished()

    def _decode_logits(self, rows: Sequence[RowState]) -> Tensor:
        device = self._runner.device
        for batch in self._batches:
            batch.cache.ensure_room()
        ids = torch.tensor([row.tokens[-1] for row in rows], device=device)
        positions = torch.tensor([row.prompt.next_position + len(row.tokens) - 1 for row in rows], device=device)
        by_axis = positions.expand(len(rows[0].prompt.positions), -1)
        return self._runner.decode_logits(ids, by_axis, DecodeAttention([batch.cache for batch in self._batches]))

    def _append_tokens(self, rows: Sequence[RowState], logits: Tensor) -> None:
        for row, token in zip(rows, sample_tokens(logits, [row.sampler for row in rows]), strict=True):
            row.append(token, self._end_tokens)

    def _remove_finished(self) -> None:
        for batch in self._batches:
            unfinished = [number for number, row in enumerate(batch.rows) if row.finish_reason is None]
            if len(unfinished) < len(batch.rows):
                self._finished += [row for row in batch.rows if row.finish_reason is not None]
                batch.rows = [batch.rows[number] for number in unfinished]
                if unfinished:
                    batch.cache.keep_rows(unfinished)
        self._batches = [batch for batch in self._batches if batch.rows]

    # --- failures -------------------------------------------------------------------------------------------------
    def _remove_unreadable(self, groups: Sequence[RowGroup], error: GardenError) -> None:
        """Finish the rows with unreadable images among `groups`, the front of the queue.

        Raises:
            GardenError: `error`, if every image can be read.
        """
        failed = []
        for row in (row for group in groups for row in group.rows):
            try:
                self._images.get(row.prompt.images)
            except GardenError as own_error:
                row.problem = name_row(own_error, row.prompt.example.row)
                self._images.release(row.prompt.images)
                failed.append(row)
        if not failed:
            raise error
        for _group in groups:
            self._queue.popleft()
        remaining = [
            RowGroup(tuple(row for row in group.rows if row.problem is None), group.shared) for group in groups
        ]
        self._requeue([group for group in remaining if group.rows])
        self._finished += failed

    def _drop_newest(self, rows: Sequence[RowState], memory_error: str) -> None:
        """Return the newest half of the rows being decoded to the queue, after they did not fit into memory."""
        self._shrink(rows, [], memory_error)
        while self._batches and self.decoding > self.budget.rows:
            groups = self._batches.pop().unfinished_groups()
            for row in (row for group in groups for row in group.rows):
                self._images.reserve(row.prompt.images)
            self._requeue(groups)
        self._free_memory()

    def _requeue(self, groups: Sequence[RowGroup]) -> None:
        """Put groups at the front of the queue; their rows restart."""
        for group in groups:
            for row in group.rows:
                row.restart()
        self._queue.extendleft(reversed(groups))

    def _shrink(self, rows: Sequence[RowState], new_groups: Sequence[RowGroup], memory_error: str) -> None:
        """Halve the budget after `rows` did not fit into memory; `new_groups` are those not being decoded yet.

        Raises:
            EnvironmentProblem: it was one row, with nothing else in memory.
        """
        if len(rows) == 1 and (not new_groups or not self._batches):
            prompt = rows[0].prompt
            raise EnvironmentProblem(
                f"row {prompt.example.row} does not fit into memory on its own: {len(prompt.ids):,} tokens, "
                f"{len(prompt.images)} images",
                why=memory_error,
                hint="use smaller images (--max-pixels), fewer new tokens or --quantization",
            )
        used_rows = self.decoding + sum(len(group.rows) for group in new_groups)
        used_tokens = sum(batch.cache.kv_tokens for batch in self._batches)
        used_tokens += sum(group.kv_tokens for group in new_groups)
        used = replace(
            self.budget,
            rows=min(self.budget.rows, used_rows),
            kv_tokens=min(self.budget.kv_tokens, used_tokens),
        )
        self.budget = used.halved()
        self._free_memory()

    def _free_memory(self) -> None:
        gc.collect()
        if self._runner.device.type == "cuda":
            torch.cuda.empty_cache()


class DecodeAttention:
    """Attention of one token per row, over the caches of some batches."""

    def __init__(self, caches: Sequence[PrefixCache]):
        self._caches = caches

    def attend(self, layer: LayerCall, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """See `attention.AttentionLayers`."""
        counts = [cache.rows for cache in self._caches]
        queries, keys, values = (tensor[:, :, 0].split(counts) for tensor in (query, key, value))
        outputs = [
            cache.attend(layer.index, own_query, own_key, own_value, layer.scale, layer.window)
            for cache, own_query, own_key, own_value in zip(self._caches, queries, keys, values, strict=True)
        ]
        return (outputs[0] if len(outputs) == 1 else torch.cat(outputs))[:, None]


def _fitting_part(group: RowGroup, rows: int, kv_tokens: int) -> RowGroup:
    """The largest part of a group that fits; at least one row."""
    for count in range(min(len(group.rows), rows), 1, -1):
        part = RowGroup(group.rows[:count], group.shared)
        if part.kv_tokens <= kv_tokens:
            return part
    return RowGroup(group.rows[:1], group.shared)
