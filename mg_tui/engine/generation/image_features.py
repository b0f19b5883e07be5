"""Vision features of images: each distinct image is encoded once and held while rows that show it are waiting.

With a feature cache (see `batching.feature_cache`), features are read from it and written to it: an image that was used
before, even in another run, is neither decoded nor encoded.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

from mg_tui.core.errors import DataError
from mg_tui.engine.batching.feature_cache import CachedImage, FeatureCache
from mg_tui.engine.batching.packed_layout import CachedImageOpener, HashedImage
from mg_tui.engine.batching.vision_inputs import encode_images
from mg_tui.families.contract import FamilyInfo
from mg_tui.families.split_encoding import SplitEncoder

MAX_HELD_TOKENS: Final = 32_768  # of images of waiting rows; beyond that the oldest are encoded again when needed
MAX_CUDA_VALUES: Final = 16_384 * 1_176  # of pixels encoded in one call: 3,211,264 pixels of three channels, twice


@dataclass(frozen=True, slots=True)
class _Preprocessed:
    path: str
    image: Any
    inputs: dict[str, Tensor]
    size: int


class ImageFeatures:
    """Features of images by path.

    Args:
        model: has the vision tower.
        encoder: preprocesses images.
        cache: enabled for the model's vision tower; None for no cache.
    """

    def __init__(self, model: Any, encoder: SplitEncoder, *, cache: FeatureCache | None = None):
        self.encoded = 0
        self.cached = 0
        self._model = model
        self._encoder = encoder
        self._cache = cache
        self._open: Callable[[str], Any] = CachedImageOpener(cache) if cache is not None else _open_file
        self._uses: Counter[str] = Counter()
        self._held: OrderedDict[str, Tensor] = OrderedDict()

    def reserve(self, paths: Iterable[str]) -> None:
        """Count a row that will need these images."""
        self._uses.update(set(paths))

    def release(self, paths: Iterable[str]) -> None:
        """A row no longer needs these images; features that no other row needs are freed."""
        for path in set(paths):
            self._uses[path] -= 1
            if self._uses[path] <= 0:
                del self._uses[path]
                self._held.pop(path, None)

    @property
    def family(self) -> FamilyInfo:
        """Of the model."""
        return self._encoder.encoder.family

    def get(self, paths: Sequence[str]) -> dict[str, Tensor]:
        """The features of each distinct image, see `Vision`.

        Raises:
            DataError: an image cannot be read.
        """
        features = {path: self._held[path] for path in paths if path in self._held}
        fresh = []
        for path in dict.fromkeys(paths):
            if path in features:
                continue
            image = self._open(path)
            if isinstance(image, CachedImage):
                features[path] = image.features.to(self._model.device)
                self.cached += 1
            else:
                fresh.append((path, image))
        for batch in self._batches(fresh):
            features.update(self._encode(batch))
        for path, tensor in features.items():
            self._held[path] = tensor
            self._held.move_to_end(path)
        total = sum(len(tensor) for tensor in self._held.values())
        while total > MAX_HELD_TOKENS and len(self._held) > 1:
            total -= len(self._held.popitem(last=False)[1])
        return features

    def clear(self) -> None:
        """Free all features."""
        self._held.clear()
        self._uses.clear()

    def _batches(self, fresh: Sequence[tuple[str, Any]]) -> Iterator[list[_Preprocessed]]:
        """Preprocessed images to be encoded in one call; on a CPU one at a time (see `encode_images`)."""
        batch: list[_Preprocessed] = []
        for path, image in fresh:
            preprocessed = self._preprocess(path, image)
            values = sum(item.size for item in (*batch, preprocessed))
            if batch and (values > MAX_CUDA_VALUES or self._model.device.type == "cpu"):
                yield batch
                batch = []
            batch.append(preprocessed)
        if batch:
            yield batch

    def _preprocess(self, path: str, image: Any) -> _Preprocessed:
        try:
            inputs = self._encoder.encode_image(image.image if isinstance(image, HashedImage) else image)
        except (ValueError, TypeError, RuntimeError) as error:
            raise DataError(f"the processor rejects the image {path}", why=str(error)) from error
        size = inputs[self.family.vision.inputs[0]].numel()
        return _Preprocessed(path, image, dict(inputs), size)

    def _encode(self, batch: Sequence[_Preprocessed]) -> dict[str, Tensor]:
        device = self._model.device
        images = [{name: value.to(device) for name, value in item.inputs.items()} for item in batch]
        features = encode_images(self._model, self.family.vision, images)
        self.encoded += len(features)
        if self._cache is not None:
            for item, tensor in zip(batch, features, strict=True):
                if isinstance(item.image, HashedImage) and item.image.digest:
                    self._cache.put(item.image.digest, item.image.size, tensor)
        return {item.path: tensor for item, tensor in zip(batch, features, strict=True)}


def _open_file(path: str) -> Any:
    from mg_tui.data.images import open_image

    return open_image(path)
