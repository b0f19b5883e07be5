"""The quicker of torch's products for the time of a generation on a CPU; afterwards the model computes as it did.

Nothing is changed but the last bits of sums. Measured (benchmarks/generate.py): the output layer over a real vocabulary
takes half the time, a tower's patch embedding a tenth.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from mg_tui.engine.compute import patches
from mg_tui.engine.compute.products import linear


@contextlib.contextmanager
def quick(model: Any) -> Iterator[None]:
    """A block in which plain layers of `model` in float32 on a CPU compute by oneDNN."""
    changed = []
    for module in model.modules():
        if "forward" in vars(module) or module.training:
            continue  # somebody else has changed it already, or gradients are wanted
        if type(module) is nn.Linear and _plain(module.weight):
            module.forward = _Product(module)
            changed.append(module)
        elif patches.of_patches(module) and _plain(module.weight):
            module.forward = patches.Forward(module, module.forward)
            changed.append(module)
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def _plain(weight: torch.Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32


class _Product:
    """Takes the place of a linear layer's `forward`."""

    def __init__(self, module: nn.Linear):
        self.module = module

    def __call__(self, given: torch.Tensor) -> torch.Tensor:
        return linear(given, self.module.weight, self.module.bias)
