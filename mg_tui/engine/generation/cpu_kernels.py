"""Faster matrix products on a CPU while generating; the model is restored afterwards.

Only rounding changes. A decode step multiplies few rows by large matrices, where oneDNN takes half the time of MKL for
a vocabulary-sized matrix. Products of many rows stay with MKL: oneDNN caches about 1 MiB of compiled code for each
number of rows, so images of many sizes would fill the memory.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mg_tui.engine.compute.matmul import linear
from mg_tui.engine.compute.patch_embedding import MatmulForward, is_patch_convolution

MAX_ONEDNN_ROWS = 64


@contextlib.contextmanager
def fast_cpu_kernels(model: Any) -> Iterator[None]:
    """Use faster products for plain float32 layers on a CPU within the block."""
    replaced = []
    for module in model.modules():
        if "forward" in vars(module) or module.training:
            continue  # already replaced by something else, or in training
        if type(module) is nn.Linear and _is_cpu_float32(module.weight):
            module.forward = _LinearForward(module)
            replaced.append(module)
        elif is_patch_convolution(module) and _is_cpu_float32(module.weight):
            module.forward = MatmulForward(module, module.forward, functional.linear)
            replaced.append(module)
    try:
        yield
    finally:
        for module in replaced:
            del module.forward


def _is_cpu_float32(weight: Tensor) -> bool:
    return bool(weight.device.type == "cpu" and weight.dtype == torch.float32)


class _LinearForward:
    """Replaces the `forward` of a linear layer."""

    def __init__(self, module: nn.Linear):
        self.module = module

    def __call__(self, x: Tensor) -> Tensor:
        product = linear if x.numel() <= MAX_ONEDNN_ROWS * x.shape[-1] else functional.linear
        output: Tensor = product(x, self.module.weight, self.module.bias)
        return output
