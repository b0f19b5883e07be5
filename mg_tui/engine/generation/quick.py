"""The quicker of torch's products for the time of a generation on a CPU; afterwards the model computes as it did.

Nothing is changed but the last bits of sums. A decode step multiplies few rows by large matrices, which oneDNN does
twice as fast as MKL where the matrix is a vocabulary's. Products of many rows are left to MKL: oneDNN keeps about 1 MiB
of compiled code for every number of rows it meets, and images of all sizes would fill the memory with it.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from mg_tui.engine.compute import patches
from mg_tui.engine.compute.products import linear

FEW = 64  # rows


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
            module.forward = patches.Forward(module, module.forward, functional.linear)
            changed.append(module)
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def _plain(weight: torch.Tensor) -> bool:
    return bool(weight.device.type == "cpu" and weight.dtype == torch.float32)


class _Product:
    """Takes the place of a linear layer's `forward`."""

    def __init__(self, module: nn.Linear):
        self.module = module

    def __call__(self, given: torch.Tensor) -> torch.Tensor:
        few = given.numel() <= FEW * given.shape[-1]
        found: torch.Tensor = (linear if few else functional.linear)(given, self.module.weight, self.module.bias)
        return found
