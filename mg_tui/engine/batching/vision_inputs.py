"""The image inputs of a forward pass: each distinct image is encoded once, and its features used wherever it is shown.

The features are given to the model in place of pixels, as its family says (`families.image_features`); the model's own
code inserts them into the token embeddings. Those of a frozen tower are computed without a graph, and may come from the
disk (see `feature_cache`). A trained tower's are computed with a graph.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from mg_tui.engine.batching import packed_layout, pixel_codec
from mg_tui.engine.batching.feature_cache import FeatureCache
from mg_tui.engine.batching.image_rows import split_images
from mg_tui.engine.compute import attention
from mg_tui.families import image_features
from mg_tui.families.image_contract import ImageInputs, Vision


class VisionInputs:
    """Turns a collated batch into the arguments of the model's forward; counts the images it encodes.

    Args:
        frozen: whether neither the vision tower nor the projector is trained.
        vision: of the family: how images are encoded and inserted.
        cache: the feature cache, if used.
        decided: called once with (value, why) when it is known whether caching is worthwhile.
        always: cache even if it is not.
    """

    def __init__(
        self,
        *,
        frozen: bool,
        vision: Vision | None = None,
        cache: FeatureCache | None = None,
        decided: Callable[[str, str], None] | None = None,
        always: bool = False,
    ):
        self.frozen = frozen
        self.vision = vision or Vision()
        self.encoded = 0
        self.cached = 0
        self._cache = cache
        self._on_decision = decided
        self._always_cache = always

    def __call__(self, model: Any, inputs: dict[str, Any], *, images: int = 0) -> dict[str, Any]:
        """The forward's arguments.

        Args:
            model: the model, inside PEFT or not, without wrappers around that.
            inputs: of a packed or padded batch, on the model's device; left as they are.
            images: of a padded batch, to be counted: the model encodes them itself.
        """
        inputs = dict(inputs)
        pixel_codec.decode_pixels(inputs)
        paths = inputs.pop(packed_layout.TREE_PATHS, None)
        order = inputs.pop(packed_layout.IMAGE_ORDER, None)
        if paths is not None:
            inputs["attention_mask"] = (
                attention.to_attention_mask(paths)
                if attention.is_installed(model)
                else packed_layout.dense_tree_mask(paths)
            )
        else:
            self.encoded += images
        if order is None:
            return inputs
        names, sizes = inputs.pop(packed_layout.IMAGE_DIGESTS, []), inputs.pop(packed_layout.FILE_SIZES, [])
        fresh = split_images(inputs)
        if self.frozen:
            features = self._encode_new(model, fresh, names, sizes) + self._cached_features(inputs)
        else:
            features = image_features.encode(model, self.vision, fresh)
            self.encoded += len(fresh)
        inputs.update(image_features.insert(model, self.vision, [features[index] for index in order.tolist()]))
        return inputs

    def pop_counts(self) -> tuple[int, int]:
        """Images encoded, and read from the cache, since the last call."""
        counts = self.encoded, self.cached
        self.encoded = self.cached = 0
        return counts

    def _encode_new(
        self, model: Any, images: Sequence[ImageInputs], names: list[str | None], sizes: list[tuple[int, int]]
    ) -> list[torch.Tensor]:
        if not images:
            return []
        started = time.perf_counter()
        features = encode_images(model, self.vision, images)
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


def encode_images(model: Any, vision: Vision, images: Sequence[ImageInputs]) -> list[torch.Tensor]:
    """Features of images, see `Vision`, without a graph.

    On a CPU one image after another: that is no slower, peak memory is that of one image, and the last bits of features
    do not depend on which other images were encoded.

    Args:
        model: has the tower.
        vision: of the family.
        images: what the image processor made of each, on the model's device.
    """
    one_by_one = not images[0][vision.inputs[0]].is_cuda
    parts = [[image] for image in images] if one_by_one else [list(images)]
    with torch.no_grad():
        return [features for part in parts for features in image_features.encode(model, vision, part)]
