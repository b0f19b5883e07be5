"""The patch embedding of a vision tower as a matrix product.

A convolution whose stride equals its kernel is a linear layer over each patch's values. Always replaced, and not by a
timing, since a resumed run has to compute bit for bit what it did before.
"""

from collections.abc import Callable
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
        if is_patch_convolution(module):
            module.forward = MatmulForward(module, module.forward)
            replaced += 1
    return replaced


def is_patch_convolution(module: Any) -> bool:
    """Whether a module is a convolution whose stride equals its kernel."""
    if type(module) not in _CONVOLUTIONS:
        return False
    plain = module.groups == 1 and set(module.dilation) == {1} and module.weight.is_floating_point()
    padded = isinstance(module.padding, str) or any(module.padding)
    return plain and not padded and module.stride == module.kernel_size


class MatmulForward:
    """Replaces a convolution's `forward`; calls the original one for inputs of more than one patch."""

    def __init__(self, module: Any, own: Any, product: Callable[..., Tensor] = linear):
        self.module = module
        self.own = own
        self.product = product

    def __call__(self, patches: Tensor) -> Tensor:
        module = self.module
        if tuple(patches.shape[2:]) != tuple(module.kernel_size):
            output: Tensor = self.own(patches)
            return output
        product = functional.linear if torch.is_grad_enabled() else self.product
        weight = module.weight.flatten(1)
        return product(patches.flatten(1), weight, module.bias).view(len(patches), -1, *[1] * len(module.kernel_size))
