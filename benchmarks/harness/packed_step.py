"""The engine's step outside a run: packed forward passes, their loss and their gradients."""

from collections.abc import Callable, Sequence
from typing import Any


def packed_step(model: Any, base: Any, tokens: int) -> Callable[[Sequence[Any]], float]:
    """A function that does forward and backward of a step's examples and returns the step's loss.

    Args:
        model: as `assemble.load_model` gives it, its vision tower frozen.
        base: as `assemble.load_base` gives it.
        tokens: most of a forward pass.
    """
    from mg_tui.engine.batching.batches import open_images
    from mg_tui.engine.batching.packed_layout import PackedLayout
    from mg_tui.engine.batching.vision_inputs import VisionInputs
    from mg_tui.engine.compute.objective import Objective
    from mg_tui.families.split_encoding import SplitEncoder

    layout = PackedLayout(SplitEncoder(base.encoder), tokens)
    vision = VisionInputs(frozen=True, vision=base.family.vision)
    objective = Objective(model)

    def step(examples: Sequence[Any]) -> float:
        parts = layout(examples, open_images(examples))
        supervised = sum(part.targets.numel() for part in parts)
        total = 0.0
        for part in parts:
            with objective.restricted_to(part.positions, tuple(part.inputs["input_ids"].shape)):
                inputs = vision(model, part.inputs)
                loss = objective.loss_sum(model, inputs, part.positions, part.targets) / supervised
                loss.backward()
            total += float(loss.detach())
        return total

    return step
