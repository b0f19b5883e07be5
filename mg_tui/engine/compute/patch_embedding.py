"""The patch embedding of a vision tower as a matrix product.

A convolution whose stride equals its kernel is a linear layer over each patch's values. Always replaced, and not by a
timing, since a resumed run has to compute bit for bit what it did before.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mg_tui.engine.compute.matmul import linear

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)


def use_matrix_products(model: Any) -> int:
    """Replace convolutions of single patches by matrix products; returns their number."""
    replaced = 0
    for module in model.modules():
        if type(module) in _CONVOLUTIONS and _is_patch_convolution(module):
            module.forward = _MatmulForward(module, module.forward)
            replaced += 1
    return replaced


def _is_patch_convolution(module: Any) -> bool:
    plain = module.groups == 1 and set(module.dilation) == {1} and module.weight.is_floating_point()
    padded = isinstance(module.padding, str) or any(module.padding)
    return plain and not padded and module.stride == module.kernel_size


class _MatmulForward:
    """Replaces a convolution's `forward`; calls the original one for inputs of more than one patch."""

    def __init__(self, module: Any, own: Any):
        self.module = module
        self.own = own

    def __call__(self, patches: Tensor) -> Tensor:
        module = self.module
        if tuple(patches.shape[2:]) != tuple(module.kernel_size):
            output: Tensor = self.own(patches)
            return output
        product = functional.linear if torch.is_grad_enabled() else linear
        weight = module.weight.flatten(1)
        return product(patches.flatten(1), weight, module.bias).view(len(patches), -1, *[1] * len(module.kernel_size))
