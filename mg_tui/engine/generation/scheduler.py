"""Which rows are read, and which decode together: as many as the budget has room for, others as these come to an end.

Rows that began together are a block with a cache of its own; one step adds a token to every row of every block. A row
that has ended leaves at once. Where the device has no memory the newest rows go back to wait, the budget is halved, and
what is there goes on; rows that went back are begun anew, and come to the same answer.
"""

import gc
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mg_tui.core.errors import EnvironmentProblem, GardenError
from mg_tui.engine.generation.budget import Budget, out_of_memory
from mg_tui.engine.generation.forward import Forward
from mg_tui.engine.generation.images import ImageFeatures
from mg_tui.engine.generation.prefill import Block, GroupOfRows, prefill
from mg_tui.engine.generation.prefix_cache import PrefixCache
from mg_tui.engine.generation.rows import Row
from mg_tui.engine.generation.sampling import choose

_REFILL = 4  # rows are read when this part of those that may decode together is free: fewer, larger blocks


class Scheduler:
    """Generates for the rows it is given, a token each at a time.

    Args:
        forward: the model.
        images: gives features; was told to expect every row's images.
        budget: what may be on the device at once.
        ends: ids of the tokens that end an answer.
    """

    def __init__(self, forward: Forward, images: ImageFeatures, budget: Budget, ends: frozenset[int]):
        self.budget = budget
        self._forward = forward
        self._images = images
        self._ends = ends
        self._waiting: deque[GroupOfRows] = deque()
        self._blocks: list[Block] = []
        self._ended: list[Row] = []

    def add(self, groups: Sequence[GroupOfRows]) -> None:
        """Rows to be answered, after those that wait already."""
        self._waiting.extend(groups)

    @property
    def waiting(self) -> int:
        """Rows that are not begun."""
        return sum(len(group.rows) for group in self._waiting)

    @property
    def live(self) -> int:
        """Rows that decode."""
        return sum(len(block.rows) for block in self._blocks)

    @property
    def busy(self) -> bool:
        """Whether anything is left to do."""
        return bool(self._waiting or self._blocks)

    def step(self) -> list[Row]:
        """Read prompts if there is room for some, or else add a token to every row; returns rows that have ended.

        Raises:
            EnvironmentProblem: one row alone does not fit into memory; it is named.
            DataError: an image cannot be read.
        """
        with self._forward.ready():
            if not self._read():
                self._decode()
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        """Hold nothing on the device any more."""
        self._waiting.clear()
        self._blocks.clear()
        self._ended.clear()
        self._images.clear()
        if self._forward.device.type == "cuda":
            torch.cuda.empty_cache()

    # --- prompts --------------------------------------------------------------------------------------------------
    def _read(self) -> bool:
        """Begin waiting rows; whether any are begun."""
        groups = self._next()
        if not groups:
            return False
        block, why, unreadable = None, None, None
        try:
            block = prefill(
                self._forward,
                groups,
                self._images,
                budget=self.budget.prompt,
                enough=self.budget.enough,
                each=self._take,
            )
        except GardenError as error:
            unreadable = error
        except Exception as error:
            if not out_of_memory(error):
                raise
            why = str(error)
        if block is None:
            self._back(groups)
            if unreadable is not None:
                self._leave_out(groups, unreadable)
            else:
                self._shrink([row for group in groups for row in group.rows], groups, why)
            return False
        for row in block.rows:
            self._images.done(row.prompt.images)
        self._blocks.append(block)
        self._let_go()
        return True

    def _next(self) -> list[GroupOfRows]:
        """Groups that there is room for, taken from those that wait."""
        room = self.budget.rows - self.live
        if room < (max(1, self.budget.rows // _REFILL) if self._blocks else 1):
            return []
        tokens = self.budget.tokens - sum(block.cache.tokens for block in self._blocks)
        found: list[GroupOfRows] = []
        while self._waiting:
            group = self._waiting[0]
            if len(group.rows) > room or group.places > tokens:
                if found or self._blocks:
                    break
                # It does not fit though nothing else is there: as much of it as does, a row at least.
                group = _part(group, room, tokens)
            rest = self._waiting.popleft().rows[len(group.rows) :]
            if rest:
                self._waiting.appendleft(GroupOfRows(rest, group.shared))
            found.append(group)
            room -= len(group.rows)
            tokens -= group.places
        return found

    # --- answers --------------------------------------------------------------------------------------------------
    def _decode(self) -> None:
        """Add a token to every row."""
        rows = [row for block in self._blocks for row in block.rows]
        if not rows:
            return
        logits, why = None, None
        try:
            logits = self._logits(rows)
        except Exception as error:
            if not out_of_memory(error):
                raise
            why = str(error)
        if logits is None:
            self._drop_newest(rows, why)
            return
        for block in self._blocks:
            block.cache.generated += 1
        self._take(rows, logits)
        self._let_go()

    def _logits(self, rows: Sequence[Row]) -> Tensor:
        device = self._forward.device
        for block in self._blocks:
            block.cache.make_room()
        ids = torch.tensor([row.tokens[-1] for row in rows], device=device)
        at = torch.tensor([row.prompt.next_position + len(row.tokens) - 1 for row in rows], device=device)
        positions = at.expand(len(rows[0].prompt.positions), -1)
        return self._forward.step(ids, positions, Decoding([block.cache for block in self._blocks]))

    def _take(self, rows: Sequence[Row], logits: Tensor) -> None:
        for row, token in zip(rows, choose(logits, [row.chance for row in rows]), strict=True):
            row.take(token, self._ends)

    def _let_go(self) -> None:
        """Rows that have ended leave."""
        for block in self._blocks:
            going = [number for number, row in enumerate(block.rows) if row.ended is None]
            if len(going) < len(block.rows):
                self._ended += [row for row in block.rows if row.ended is not None]
                block.rows = [block.rows[number] for number in going]
                if going:
                    block.cache.keep(going)
        self._blocks = [block for block in self._blocks if block.rows]

    # --- what goes wrong ------------------------------------------------------------------------------------------
    def _leave_out(self, groups: Sequence[GroupOfRows], error: GardenError) -> None:
        """Rows whose images cannot be read, of some that wait at the front, fail; the others wait on.

        Raises:
            GardenError: the error itself, if it is no row's fault.
        """
        failed = []
        for row in (row for group in groups for row in group.rows):
            try:
                self._images.features(row.prompt.images)
            except GardenError as own:
                row.problem = own
                self._images.done(row.prompt.images)
                failed.append(row)
        if not failed:
            raise error
        for _group in groups:
            self._waiting.popleft()
        left = [(tuple(row for row in group.rows if row.problem is None), group.shared) for group in groups]
        self._back([GroupOfRows(rows, shared) for rows, shared in left if rows])
        self._ended += failed

    def _drop_newest(self, rows: Sequence[Row], why: str | None) -> None:
        """Let the newest half of what decodes wait again, after there was no memory for all of it."""
        self._shrink(rows, [], why)
        while self._blocks and self.live > self.budget.rows:
            dropped = self._blocks.pop().unfinished()
            for row in (row for group in dropped for row in group.rows):
                self._images.expect(row.prompt.images)
            self._back(dropped)
        self._free()

    def _back(self, groups: Sequence[GroupOfRows]) -> None:
        """Groups wait again, before all others; their rows are begun anew."""
        for group in groups:
            for row in group.rows:
                row.restart()
        self._waiting.extendleft(reversed(groups))

    def _shrink(self, rows: Sequence[Row], more: Sequence[GroupOfRows], why: str | None) -> None:
        """Halve the budget, after there was no memory for `rows` beside what decodes; `more` are those not among it."""
        if len(rows) == 1 and (not more or not self._blocks):
            row = rows[0].prompt
            raise EnvironmentProblem(
                f"row {row.example.row} does not fit into memory, though it is answered alone: "
                f"{len(row.ids):,} tokens, {len(row.images)} images",
                why=(why or "").strip().split("\n")[0],
                hint="answer with smaller images (--max-pixels) or fewer new tokens, or load less with --quantization",
            )
        used_rows = self.live + sum(len(group.rows) for group in more)
        used_tokens = sum(block.cache.tokens for block in self._blocks) + sum(group.places for group in more)
        self.budget = replace(
            self.budget, rows=min(self.budget.rows, used_rows), tokens=min(self.budget.tokens, used_tokens)
        ).halved()
        self._free()

    def _free(self) -> None:
        gc.collect()
        if self._forward.device.type == "cuda":
            torch.cuda.empty_cache()


class Decoding:
    """Attention of one more token of each row over the caches of some blocks."""

    def __init__(self, caches: Sequence[PrefixCache]):
        self._caches = caches

    def attend(self, layer: int, module: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """See `attention.Attending`."""
        counts = [cache.rows for cache in self._caches]
        queries, keys, values = (tensor[:, :, 0].split(counts) for tensor in (query, key, value))
        parts = zip(self._caches, queries, keys, values, strict=True)
        found = [cache.attend(layer, one, two, three, scale) for cache, one, two, three in parts]
        return (found[0] if len(found) == 1 else torch.cat(found))[:, None]


def _part(group: GroupOfRows, room: int, tokens: int) -> GroupOfRows:
    """The first rows of a group for which there is room; one at least."""
    for count in range(min(len(group.rows), room), 1, -1):
        part = GroupOfRows(group.rows[:count], group.shared)
        if part.places <= tokens:
            return part
    return GroupOfRows(group.rows[:1], group.shared)
