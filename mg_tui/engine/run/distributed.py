"""A step done by several processes: one sum of all gradients at its end, and nothing else that waits.

Passes are done without synchronisation. So ranks may differ in how many they make, in whether a pass has images (a
rank with text only runs no vision tower), and in how often they lay a step out anew when memory is short; none of this
can make another wait for what never comes. Gradients are summed, since each rank's loss is divided by the supervised
tokens of all ranks already. A weight that got a gradient nowhere has none afterwards, as in one process, so that the
optimizer leaves it alone; one that got it only elsewhere gets it here too.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

_BUCKET_ELEMENTS = 2**25  # numbers that travel at once: 128 MiB of float32


class GradientSync:
    """The processes of a run, as accelerate found them."""

    def __init__(self, accelerator: Any):
        self._accelerator = accelerator
        self.world_size = int(accelerator.num_processes)

    def apart(self, model: Any) -> AbstractContextManager[Any]:
        """A block whose backward passes wait for nobody."""
        apart: AbstractContextManager[Any] = self._accelerator.no_sync(model) if self.world_size > 1 else nullcontext()
        return apart

    def all_reduce_sums(self, *numbers: float) -> list[float]:
        """Each number summed over all ranks; every rank has to ask with as many."""
        if self.world_size == 1:
            return list(numbers)
        found = torch.tensor(numbers, dtype=torch.float64, device=self._accelerator.device)
        torch.distributed.all_reduce(found)
        return [float(one) for one in found.tolist()]

    def all_reduce_gradients(self, model: Any) -> None:
        """The gradients of all ranks added up, on every rank."""
        if self.world_size == 1:
            return
        learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
        here = torch.tensor([p.grad is not None for p in learned], dtype=torch.int32, device=self._accelerator.device)
        torch.distributed.all_reduce(here, torch.distributed.ReduceOp.MAX)
        somewhere = [p for p, there in zip(learned, here.tolist(), strict=True) if there]
        for parameter in somewhere:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        bucket: list[torch.Tensor] = []
        for parameter in somewhere:
            if bucket and sum(one.numel() for one in bucket) + parameter.numel() > _BUCKET_ELEMENTS:
                _all_reduce_bucket(bucket)
                bucket = []
            bucket.append(parameter.grad)
        _all_reduce_bucket(bucket)


def _all_reduce_bucket(bucket: list[torch.Tensor]) -> None:
    if not bucket:
        return
    flat = torch.cat([one.reshape(-1).float() for one in bucket])
    torch.distributed.all_reduce(flat)
    for one, summed in zip(bucket, flat.split([one.numel() for one in bucket]), strict=True):
        one.copy_(summed.view_as(one))
