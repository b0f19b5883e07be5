"""A step over several processes: one all-reduce of the gradients at its end, and no other synchronization.

Forward passes are not synchronized. So ranks may differ in their number of passes, in whether a pass has images (a
rank with text only runs no vision tower), and in how often they shrink the layout when memory is short; none of this
can make another rank wait forever. Gradients are summed, not averaged, since each rank's loss is already divided by the
supervised tokens of all ranks. A parameter without a gradient on any rank has none afterwards, as in one process, so
that the optimizer skips it; one with a gradient on some ranks gets the sum on every rank.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

_BUCKET_ELEMENTS = 2**25  # elements of one all-reduce: 128 MiB of float32


class GradientSync:
    """Synchronization between the processes of a run, as accelerate set them up."""

    def __init__(self, accelerator: Any):
        self._accelerator = accelerator
        self.world_size = int(accelerator.num_processes)

    def no_sync(self, model: Any) -> AbstractContextManager[Any]:
        """A block whose backward passes are not synchronized between ranks."""
        context: AbstractContextManager[Any] = (
            self._accelerator.no_sync(model) if self.world_size > 1 else nullcontext()
        )
        return context

    def all_reduce_sums(self, *numbers: float) -> list[float]:
        """Each number summed over all ranks; every rank has to pass equally many."""
        if self.world_size == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float64, device=self._accelerator.device)
        torch.distributed.all_reduce(sums)
        return [float(value) for value in sums.tolist()]

    def all_reduce_gradients(self, model: Any) -> None:
        """Replace the gradients on every rank by their sum over all ranks."""
        if self.world_size == 1:
            return
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        has_gradient = torch.tensor(
            [p.grad is not None for p in trainable], dtype=torch.int32, device=self._accelerator.device
        )
        torch.distributed.all_reduce(has_gradient, torch.distributed.ReduceOp.MAX)
        reduced = [p for p, anywhere in zip(trainable, has_gradient.tolist(), strict=True) if anywhere]
        for parameter in reduced:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        bucket: list[torch.Tensor] = []
        for parameter in reduced:
            if bucket and sum(gradient.numel() for gradient in bucket) + parameter.numel() > _BUCKET_ELEMENTS:
                _all_reduce_bucket(bucket)
                bucket = []
            bucket.append(parameter.grad)
        _all_reduce_bucket(bucket)


def _all_reduce_bucket(bucket: list[torch.Tensor]) -> None:
    if not bucket:
        return
    flat = torch.cat([gradient.reshape(-1).float() for gradient in bucket])
    torch.distributed.all_reduce(flat)
    for gradient, summed in zip(bucket, flat.split([gradient.numel() for gradient in bucket]), strict=True):
        gradient.copy_(summed.view_as(gradient))
