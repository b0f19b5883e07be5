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
    from mg_tui.engine.compute.objective import Objective
    from mg_tui.engine.steps.batches import open_pictures
    from mg_tui.engine.steps.packed import PackedLayout
    from mg_tui.engine.steps.vision import VisionInputs
    from mg_tui.families.apart import ApartEncoder

    layout, vision = PackedLayout(ApartEncoder(base.encoder), tokens), VisionInputs(frozen=True)
    objective = Objective(model)

    def step(examples: Sequence[Any]) -> float:
        parts = layout(examples, open_pictures(examples))
        learned = sum(part.targets.numel() for part in parts)
        total = 0.0
        for part in parts:
            with objective.at(part.positions, tuple(part.inputs["input_ids"].shape)):
                given = vision(model, part.inputs)
                loss = objective.loss_sum(model, given, part.positions, part.targets) / learned
                loss.backward()
            total += float(loss.detach())
        return total

    return step
