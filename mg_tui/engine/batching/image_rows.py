"""The processor's outputs for several images as one tensor each, and back: whatever their shapes are.

Tensors whose shapes agree but for the first axis are concatenated; others, of tiles or images of different sizes, are
flattened first. What each image had is kept beside them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

IMAGE_SHAPES: Final = "image_shapes"  # by name, the shape of each image's tensor


def join_images(images: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    """One tensor for each name, and `IMAGE_SHAPES`."""
    joined: dict[str, Any] = {}
    shapes = {name: [tuple(image[name].shape) for image in images] for name in images[0]}
    for name, of_images in shapes.items():
        tensors = [image[name] for image in images]
        joined[name] = torch.cat(tensors if _agree(of_images) else [tensor.reshape(-1) for tensor in tensors])
    joined[IMAGE_SHAPES] = shapes
    return joined


def split_images(inputs: dict[str, Any]) -> list[dict[str, Tensor]]:
    """Take the images out of a forward's arguments again; empty without any."""
    shapes: Mapping[str, Sequence[tuple[int, ...]]] | None = inputs.pop(IMAGE_SHAPES, None)
    if shapes is None:
        return []
    by_name: dict[str, list[Tensor]] = {}
    for name, of_images in shapes.items():
        value: Tensor = inputs.pop(name)
        if _agree(of_images):
            by_name[name] = list(value.split([shape[0] for shape in of_images]))
        else:
            pieces = value.split([torch.Size(shape).numel() for shape in of_images])
            by_name[name] = [piece.view(shape) for piece, shape in zip(pieces, of_images, strict=True)]
    return [dict(zip(by_name, values, strict=True)) for values in zip(*by_name.values(), strict=True)]


def _agree(shapes: Sequence[tuple[int, ...]]) -> bool:
    return all(shape[1:] == shapes[0][1:] for shape in shapes)
