"""How many optimizer steps a run has. Read by the engine's plan and by faces that estimate a run."""

import math


def steps_per_epoch(examples: int, examples_per_step: int) -> int:
    """Optimizer steps in one pass over the examples; the last step takes what is left."""
    return math.ceil(examples / examples_per_step)


def total_steps(steps_per_epoch: int, epochs: float, max_steps: int | None = None) -> int:
    """Optimizer steps of the whole run; `max_steps` takes the place of `epochs`."""
    if max_steps is not None:
        return max_steps
    return max(1, math.ceil(epochs * steps_per_epoch - 1e-9))
