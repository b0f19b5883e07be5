"""Pictures into a forward pass: each distinct picture encoded once, its features put wherever the layout shows it.

With a frozen tower the features are computed without a graph and given to the model as `mm_encoder_outputs`, which
transformers takes in place of pixels; the model's own code puts them into the token embeddings. A tower that is trained
gets its pixels inside the forward, as the model means it to.
"""

from typing import Any

import torch

from mg_tui.engine.packed import PICTURE_ORDER, TREE_ENDS, tree_mask


class VisionInputs:
    """Makes what a model's forward takes of what a collator made; counts the pictures it encoded.

    Args:
        frozen: whether neither the vision tower nor the projector is trained.
    """

    def __init__(self, *, frozen: bool):
        self.frozen = frozen
        self.encoded = 0
        self.cached = 0

    def __call__(self, model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        """The forward's arguments.

        Args:
            model: the model, inside PEFT or not, without wrappers around that.
            inputs: of a packed or padded batch, on the model's device; left as they are.
        """
        inputs = dict(inputs)
        grid = inputs.get("image_grid_thw")
        ends = inputs.pop(TREE_ENDS, None)
        order = inputs.pop(PICTURE_ORDER, None)
        if ends is not None:
            inputs["attention_mask"] = tree_mask(ends)
        if order is None:
            self.encoded += 0 if grid is None else len(grid)
            return inputs
        if self.frozen:
            features = encode(model, inputs.pop("pixel_values"), inputs.pop("image_grid_thw"))
            self.encoded += len(features)
            inputs["mm_encoder_outputs"] = {"image": _Pooled([features[index] for index in order.tolist()])}
            return inputs
        if order.tolist() != list(range(len(inputs["image_grid_thw"]))):
            inputs.update(_repeated(inputs["pixel_values"], inputs["image_grid_thw"], order))
        self.encoded += len(order)
        return inputs

    def take_counts(self) -> tuple[int, int]:
        """Pictures encoded, and taken from the store, since the last call."""
        found = self.encoded, self.cached
        self.encoded = self.cached = 0
        return found


def encode(model: Any, pixel_values: torch.Tensor, grid: torch.Tensor) -> list[torch.Tensor]:
    """Features of pictures, (tokens, width) each, without a graph.

    Args:
        pixel_values: (patches, values), the pictures' patches one after another.
        grid: (pictures, 3), patches of each over time, height and width.
    """
    with torch.no_grad():
        return list(model.get_image_features(pixel_values, grid).pooler_output)


class _Pooled:
    """The one field of an encoder's output that the model reads."""

    def __init__(self, features: list[torch.Tensor]):
        self.pooler_output = features


def _repeated(pixel_values: torch.Tensor, grid: torch.Tensor, order: torch.Tensor) -> dict[str, torch.Tensor]:
    """The pixels of each place that shows a picture: one that is trained on is encoded for every place."""
    pictures = pixel_values.split(grid.prod(-1).tolist())
    return {
        "pixel_values": torch.cat([pictures[index] for index in order.tolist()]),
        "image_grid_thw": grid[order],
    }
