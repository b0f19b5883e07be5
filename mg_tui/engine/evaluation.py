"""The mean loss over held-out examples: nothing but two sums is kept, whatever the vocabulary."""

from collections.abc import Callable

import torch

from mg_tui.engine.guard import sentinels
from mg_tui.engine.steps.batches import EvaluationBatches, MicroBatch


def mean_loss(batches: EvaluationBatches, loss_of: Callable[[MicroBatch], float]) -> float:
    """Mean loss of a supervised token; NaN when there is none. Neither weights nor label smoothing count.

    Where the device has no memory for it, the batches are laid out smaller and it begins again.

    Args:
        batches: the examples.
        loss_of: the sum of a batch's token losses, without gradients.

    Raises:
        RunFailed: one example alone does not fit.
    """
    while True:
        try:
            return _mean(batches, loss_of)
        except torch.OutOfMemoryError as error:
            if batches.layout.shrink() is None:
                raise sentinels.no_memory_to_evaluate(str(error)) from error
        torch.cuda.empty_cache()


def _mean(batches: EvaluationBatches, loss_of: Callable[[MicroBatch], float]) -> float:
    loss, tokens = 0.0, 0
    for batch in batches():
        for part in batch.parts:
            loss += loss_of(part)
            tokens += int(part.targets.numel())
    return loss / tokens if tokens else float("nan")
