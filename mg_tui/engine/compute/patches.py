"""The patch embedding of a vision tower as a matrix product.

A convolution whose kernel is as large as its input sees every patch once: it is a linear layer over the patch's values.
Always done where the model is built so, and not by a timing, since a resumed run has to compute what it did before.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mg_tui.engine.compute.products import linear

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)


def as_products(model: Any) -> int:
    """Let convolutions of single patches compute as matrix products; returns how many do."""
    found = 0
    for module in model.modules():
        if of_patches(module):
            module.forward = Forward(module, module.forward)
            found += 1
    return found


def of_patches(module: Any) -> bool:
    """Whether a module is a convolution that sees every patch once."""
    if type(module) not in _CONVOLUTIONS:
        return False
    plain = module.groups == 1 and set(module.dilation) == {1} and module.weight.is_floating_point()
    padded = isinstance(module.padding, str) or any(module.padding)
    return plain and not padded and module.stride == module.kernel_size


class Forward:
    """Takes the place of a convolution's `forward`; images of more than a patch are left to the one that was there."""

    def __init__(self, module: Any, own: Any, product: Callable[..., Tensor] = linear):
        self.module = module
        self.own = own
        self.product = product

    def __call__(self, given: Tensor) -> Tensor:
        module = self.module
        if tuple(given.shape[2:]) != tuple(module.kernel_size):
            found: Tensor = self.own(given)
            return found
        product = functional.linear if torch.is_grad_enabled() else self.product
        weight = module.weight.flatten(1)
        return product(given.flatten(1), weight, module.bias).view(len(given), -1, *[1] * len(module.kernel_size))
