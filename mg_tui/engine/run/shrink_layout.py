"""What is done when a forward pass does not fit on the device: smaller passes from then on."""

from collections.abc import Sequence
from typing import Any

import torch

from mg_tui.engine.batching.batches import MicroBatch, StepLayout
from mg_tui.engine.monitoring import step_checks


def shrink_layout(
    layout: StepLayout, model: Any, parts: Sequence[MicroBatch], *, step: int, why: str
) -> tuple[MicroBatch, int]:
    """Lay out smaller from now on, free the gradients and return cached memory to the device.

    Args:
        layout: of the run's steps.
        model: its gradients start anew.
        parts: the forward passes that did not fit, all or one of them.
        step: the optimizer step, from 1.
        why: the error's first line.

    Returns:
        The largest of the passes, and the new size of the layout (see `StepLayout.shrink`).

    Raises:
        StepFailed: one example alone does not fit.
    """
    largest = max(parts, key=lambda part: part.computed_tokens)
    model.zero_grad(set_to_none=True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    size = layout.shrink() if len(largest.rows) > 1 else None
    if size is None:
        raise step_checks.step_out_of_memory(
            step=step, rows=largest.rows, tokens=largest.tokens, images=largest.images, why=why
        )
    return largest, size
