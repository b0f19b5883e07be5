"""The image inputs of a forward pass: each distinct image is encoded once, and its features used wherever it is shown.

With a frozen tower the features are computed without a graph and given to the model as `mm_encoder_outputs`, which
transformers takes in place of pixels; the model's own code inserts them into the token embeddings. They may also come
from the disk (see `feature_cache`). A tower that is trained gets pixels in the forward pass, as usual.
"""

import time
from collections.abc import Callable
from typing import Any

import torch

from mg_tui.engine.batching import packed_layout, pixel_codec
from mg_tui.engine.batching.feature_cache import FeatureCache
from mg_tui.engine.compute import attention


class VisionInputs:
    """Turns a collated batch into the arguments of the model's forward; counts the images it encodes.

    Args:
        frozen: whether neither the vision tower nor the projector is trained.
        cache: the feature cache, if used.
        decided: called once with (value, why) when it is known whether caching is worthwhile.
        always: cache even if it is not.
    """

    def __init__(
        self,
        *,
        frozen: bool,
        cache: FeatureCache | None = None,
        decided: Callable[[str, str], None] | None = None,
        always: bool = False,
    ):
        self.frozen = frozen
        self.encoded = 0
        self.cached = 0
        self._cache = cache
        self._on_decision = decided
        self._always_cache = always

    def __call__(self, model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        """The forward's arguments.

        Args:
            model: the model, inside PEFT or not, without wrappers around that.
            inputs: of a packed or padded batch, on the model's device; left as they are.
        """
        inputs = dict(inputs)
        pixel_codec.decode_pixels(inputs)
        ends = inputs.pop(packed_layout.SUBTREE_ENDS, None)
        order = inputs.pop(packed_layout.IMAGE_ORDER, None)
        if ends is not None:
            inputs["attention_mask"] = (
                attention.to_attention_mask(ends)
                if attention.is_installed(model)
                else packed_layout.dense_tree_mask(ends)
            )
        if order is None:
            grid = inputs.get("image_grid_thw")
            self.encoded += 0 if grid is None else len(grid)
            return inputs
        names, sizes = inputs.pop(packed_layout.IMAGE_DIGESTS, []), inputs.pop(packed_layout.IMAGE_SIZES, [])
        if self.frozen:
            features = self._encode_new(model, inputs, names, sizes) + self._cached_features(inputs)
            inputs["mm_encoder_outputs"] = {"image": _PooledOutput([features[index] for index in order.tolist()])}
            return inputs
        if order.tolist() != list(range(len(inputs["image_grid_thw"]))):
            inputs.update(_repeat_images(inputs["pixel_values"], inputs["image_grid_thw"], order))
        self.encoded += len(order)
        return inputs

    def pop_counts(self) -> tuple[int, int]:
        """Images encoded, and read from the cache, since the last call."""
        counts = self.encoded, self.cached
        self.encoded = self.cached = 0
        return counts

    def _encode_new(
        self, model: Any, inputs: dict[str, Any], names: list[str | None], sizes: list[tuple[int, int]]
    ) -> list[torch.Tensor]:
        if "pixel_values" not in inputs:
            return []
        started = time.perf_counter()
        features = encode_images(model, inputs.pop("pixel_values"), inputs.pop("image_grid_thw"))
        self.encoded += len(features)
        cache = self._cache
        if cache is not None and cache.enabled:
            if self._on_decision is not None and features[0].is_cuda:
                torch.cuda.synchronize()
            each = (time.perf_counter() - started) / len(features)
            stored = [
                name
                for name, size, image_features in zip(names, sizes, features, strict=True)
                if name and cache.put(name, size, image_features)
            ]
            if stored and self._on_decision is not None:
                pays, why = cache.is_worthwhile(stored[0], each)
                pays = pays or self._always_cache
                self._on_decision("on" if pays else "off", f"an image takes {why}")
                self._on_decision = None
                if not pays:
                    cache.close()
        return features

    def _cached_features(self, inputs: dict[str, Any]) -> list[torch.Tensor]:
        raw = inputs.pop(packed_layout.CACHED_FEATURES, None)
        if raw is None:
            return []
        tokens = inputs.pop(packed_layout.CACHED_TOKENS)
        dtype = getattr(torch, inputs.pop(packed_layout.CACHED_DTYPE))
        self.cached += len(tokens)
        return list(raw.view(dtype).split(tokens))


def encode_images(model: Any, pixel_values: torch.Tensor, grid: torch.Tensor) -> list[torch.Tensor]:
    """Features of images, (tokens, width) each, without a graph.

    On a CPU one image after another: that is no slower, peak memory is that of one image, and the last bits of features
    do not depend on which other images were encoded.

    Args:
        pixel_values: (patches, values), the images' patches one after another.
        grid: (images, 3), patches of each over time, height and width.
    """
    parts = [(pixel_values, grid)]
    if not pixel_values.is_cuda:
        parts = list(zip(pixel_values.split(grid.prod(-1).tolist()), grid.split(1), strict=True))
    with torch.no_grad():
        return [features for part in parts for features in model.get_image_features(*part).pooler_output]


class _PooledOutput:
    """The field of an encoder's output that the model reads."""

    def __init__(self, features: list[torch.Tensor]):
        self.pooler_output = features


def _repeat_images(pixel_values: torch.Tensor, grid: torch.Tensor, order: torch.Tensor) -> dict[str, torch.Tensor]:
    """The pixels for each place that shows an image: with a trained tower, each is encoded separately."""
    images = pixel_values.split(grid.prod(-1).tolist())
    return {
        "pixel_values": torch.cat([images[index] for index in order.tolist()]),
        "image_grid_thw": grid[order],
    }
