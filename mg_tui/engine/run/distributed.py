"""A step over several processes: one all-reduce of the gradients at its end, and no other synchronization.

Forward passes are not synchronized. So ranks may differ in their number of passes and in whether a pass has images (a
rank with text only runs no vision tower); none of this can make another rank wait forever. Gradients are summed, not
averaged, since each rank's loss is already divided by the supervised tokens of all ranks. A parameter without a
gradient on any rank has none afterwards, as in one process, so that the optimizer skips it; one with a gradient on some
ranks gets the sum on every rank.

A collective fails when another rank is gone. What became of that one, its supervisor says (`mg_tui.runs.ranks`).
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from mg_tui.core.text import first_line
from mg_tui.engine.layout.partition import World
from mg_tui.engine.monitoring.rank_health import RankHealth

_BUCKET_ELEMENTS = 2**25  # elements of one all-reduce: 128 MiB of float32


class ConnectionLost(Exception):
    """A collective failed: another rank, or the network between, is gone."""


class GradientSync:
    """The collectives of a run's processes. With one process there are none, and every answer is its own.

    Numbers and decisions go over the CPU (gloo), which notices the end of another process; gradients go over the
    device they are on.

    Args:
        world: this process among the others.
        health: told when this process waits for the others.
    """

    def __init__(self, world: World | None = None, health: RankHealth | None = None):
        self.world = world or World()
        self.world_size = self.world.size
        self._health = health

    @contextmanager
    def _collective(self) -> Iterator[None]:
        """Within this block this process waits for the others.

        Raises:
            ConnectionLost: one is gone.
        """
        waiting: AbstractContextManager[Any] = self._health.waiting() if self._health is not None else nullcontext()
        with waiting:
            try:
                yield
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                raise ConnectionLost(first_line(error)) from error

    def all_reduce_sums(self, *numbers: float) -> list[float]:
        """Each number summed over all ranks; every rank has to pass equally many."""
        if self.world_size == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float64)
        with self._collective():
            torch.distributed.all_reduce(sums)
        return [float(value) for value in sums.tolist()]

    def any(self, value: bool) -> bool:
        """Whether it is true on any rank."""
        return bool(self.all_reduce_sums(float(value))[0])

    def from_first(self, value: Any) -> Any:
        """The value that rank 0 has: a decision that only it can take. Any object that can be pickled."""
        if self.world_size == 1:
            return value
        box = [value]
        with self._collective():
            torch.distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, by rank. Any objects that can be pickled."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        with self._collective():
            torch.distributed.all_gather_object(values, value)
        return values

    def all_reduce_gradients(self, model: Any) -> None:
        """Replace the gradients on every rank by their sum over all ranks."""
        if self.world_size == 1:
            return
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        has_gradient = torch.tensor([p.grad is not None for p in trainable], dtype=torch.int32)
        with self._collective():
            torch.distributed.all_reduce(has_gradient, torch.distributed.ReduceOp.MAX)
        reduced = [p for p, anywhere in zip(trainable, has_gradient.tolist(), strict=True) if anywhere]
        for parameter in reduced:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        with self._collective():
            for bucket in _buckets([parameter.grad for parameter in reduced]):
                _all_reduce_bucket(bucket)


def seed_step(seed: int, step: int, rows: Sequence[int]) -> None:
    """Seed torch for the random numbers of a step (dropout) from what is computed in it.

    They do not depend on the number of ranks that the run had before, so that it can be resumed on another; and ranks
    do not all drop the same units.
    """
    text = f"step/{seed}/{step}/{rows[0] if rows else 0}"
    torch.manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big"))


def _buckets(gradients: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    bucket: list[torch.Tensor] = []
    elements = 0
    for gradient in gradients:
        if bucket and elements + gradient.numel() > _BUCKET_ELEMENTS:
            yield bucket
            bucket, elements = [], 0
        bucket.append(gradient)
        elements += gradient.numel()
    if bucket:
        yield bucket


def _all_reduce_bucket(bucket: list[torch.Tensor]) -> None:
    flat = torch.cat([gradient.reshape(-1).float() for gradient in bucket])
    torch.distributed.all_reduce(flat)
    for gradient, summed in zip(bucket, flat.split([gradient.numel() for gradient in bucket]), strict=True):
        gradient.copy_(summed.view_as(gradient))
