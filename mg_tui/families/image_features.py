"""The defaults of `Vision`: features of images from the model's own tower, and back into the model's forward.

Features of an image are one tensor (feature tokens, width x (1 + companions)), see `Vision`. With a graph, gradients
reach the tower through it; an image that is shown in several places is encoded once, and its gradient is their sum.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mg_tui.families.image_contract import ImageInputs, Vision


def encode(model: Any, vision: Vision, images: Sequence[ImageInputs]) -> list[Any]:
    """The features of each image.

    Args:
        model: has `get_image_features`; inside PEFT or not.
        vision: of the family.
        images: what the image processor made of each, on the model's device.
    """
    if vision.encode is not None:
        return vision.encode(model, vision, images)
    if len(images) > 1 and vision.together and can_concatenate(images):
        return _encode_together(model, vision, images)
    return [_flatten(_call_tower(model, image), vision) for image in images]


def can_concatenate(images: Sequence[ImageInputs]) -> bool:
    """Whether inputs of images have equal shapes but for their first axis."""
    first = images[0]
    return all(image[name].shape[1:] == value.shape[1:] for image in images for name, value in first.items())


def insert(model: Any, vision: Vision, features: Sequence[Any]) -> dict[str, Any]:
    """Arguments of the model's forward that put features in the place of pixels.

    Args:
        model: the width of its hidden states tells features from companions.
        vision: of the family.
        features: of the images in the order of their places, each as `encode` gives it.
    """
    import torch

    if vision.insert is not None:
        return vision.insert(model, vision, features)
    companions: list[list[Any]] = []
    if vision.companions is not None:
        count = features[0].shape[-1] // model.config.get_text_config().hidden_size
        split = [item.chunk(count, dim=-1) for item in features]
        features, *companions = ([pieces[index] for pieces in split] for index in range(count))
    pooled = torch.cat(list(features)) if vision.features == "tensor" else list(features)
    output = EncoderOutput(pooled)
    if vision.companions is not None:
        setattr(output, vision.companions, companions)
    return {"mm_encoder_outputs": {"image": output}}


class EncoderOutput:
    """The fields of an encoder's output that the model reads."""

    def __init__(self, features: Any):
        self.pooler_output = features


def _call_tower(model: Any, inputs: Mapping[str, Any]) -> Any:
    return model.get_image_features(**inputs, return_dict=True)


def _encode_together(model: Any, vision: Vision, images: Sequence[ImageInputs]) -> list[Any]:
    import torch

    output = _call_tower(model, {name: torch.cat([image[name] for image in images]) for name in images[0]})
    rows = [len(image[vision.inputs[0]]) for image in images]
    layers = [output.pooler_output, *_companions(output, vision)]
    by_layer = [_by_image(layer, rows) for layer in layers]
    return [torch.cat(pieces, dim=-1) if len(pieces) > 1 else pieces[0] for pieces in zip(*by_layer, strict=True)]


def _by_image(layer: Any, rows: Sequence[int]) -> list[Any]:
    """(feature tokens, width) of each image, of a list of images' tensors or of a tensor with rows for each image."""
    if not isinstance(layer, list | tuple):
        layer = layer.split(list(rows))
    if len(layer) != len(rows):
        raise ValueError(f"the tower gives {len(layer)} tensors of features for {len(rows)} images")
    return [item.reshape(-1, item.shape[-1]) for item in layer]


def _flatten(output: Any, vision: Vision) -> Any:
    """(feature tokens, width x (1 + companions)) of one image."""
    import torch

    layers = []
    for layer in (output.pooler_output, *_companions(output, vision)):
        if isinstance(layer, list | tuple):
            layer = layer[0] if len(layer) == 1 else torch.cat([item.reshape(-1, item.shape[-1]) for item in layer])
        layers.append(layer.reshape(-1, layer.shape[-1]))
    return torch.cat(layers, dim=-1) if len(layers) > 1 else layers[0]


def _companions(output: Any, vision: Vision) -> Sequence[Any]:
    return getattr(output, vision.companions) if vision.companions is not None else ()
