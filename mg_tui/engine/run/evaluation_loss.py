"""The mean loss over held-out examples: two sums, whatever the size of the vocabulary; no logits are stored."""

from collections.abc import Callable

import torch

from mg_tui.engine.batching.batches import EvaluationBatches, MicroBatch
from mg_tui.engine.monitoring import step_checks


def mean_loss(batches: EvaluationBatches, loss_of: Callable[[MicroBatch], float]) -> float:
    """Mean loss of a supervised token; NaN when there is none. Row weights and label smoothing are not applied.

    When the device runs out of memory, the evaluation restarts with smaller batches.

    Args:
        batches: the examples.
        loss_of: the sum of a batch's token losses, without gradients.

    Raises:
        RunFailed: one example alone does not fit.
    """
    while True:
        try:
            loss, tokens = _token_sums(batches, loss_of)
            break
        except torch.OutOfMemoryError as error:
            if batches.layout.shrink() is None:
                raise step_checks.evaluation_out_of_memory(str(error)) from error
        torch.cuda.empty_cache()
    loss, tokens = batches.add_up(loss, tokens)
    return loss / tokens if tokens else float("nan")


def _token_sums(batches: EvaluationBatches, loss_of: Callable[[MicroBatch], float]) -> tuple[float, float]:
    loss, tokens = 0.0, 0
    for batch in batches():
        for part in batch.micro_batches:
            loss += loss_of(part)
            tokens += int(part.targets.numel())
    return loss, tokens
