"""Features of images: each distinct one encoded once, held while rows that show it are still to come.

Where the tower is frozen they may come from the feature store, and go there (see `steps.features`): the same image
asked again, in another run even, is neither decoded nor encoded.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from mg_tui.core.errors import DataError
from mg_tui.engine.steps.features import FeatureCache, KnownPicture
from mg_tui.engine.steps.packed import NamedPicture, PictureOpener
from mg_tui.engine.steps.vision import encode
from mg_tui.families.apart import ApartEncoder

HELD: Final = 32_768  # tokens of images that are held for rows to come; beyond, the oldest are encoded again
TOGETHER: Final = 16_384  # patches that a GPU encodes at a time


class ImageFeatures:
    """Gives the features of images by path.

    Args:
        model: its vision tower encodes.
        apart: prepares images.
        cache: where features are kept, if they are; open for the model's tower.
        opener: opens an image; by default the file at the path.
    """

    def __init__(
        self,
        model: Any,
        apart: ApartEncoder,
        *,
        cache: FeatureCache | None = None,
        opener: Callable[[str], Any] | None = None,
    ):
        self.encoded = 0
        self.cached = 0
        self._model = model
        self._apart = apart
        self._cache = cache
        self._open = opener or (PictureOpener(cache) if cache is not None else _open)
        self._uses: Counter[str] = Counter()
        self._held: OrderedDict[str, Tensor] = OrderedDict()

    def expect(self, paths: Iterable[str]) -> None:
        """A row that shows these images will come, or will come again."""
        self._uses.update(set(paths))

    def done(self, paths: Iterable[str]) -> None:
        """A row that shows these images has been read; what no other row will show is let go."""
        for path in set(paths):
            self._uses[path] -= 1
            if self._uses[path] <= 0:
                del self._uses[path]
                self._held.pop(path, None)

    def features(self, paths: Sequence[str]) -> dict[str, Tensor]:
        """The features of each distinct image, (tokens, width).

        Raises:
            DataError: an image cannot be read.
        """
        found = {path: self._held[path] for path in paths if path in self._held}
        fresh = []
        for path in dict.fromkeys(paths):
            if path not in found:
                image = self._open(path)
                if isinstance(image, KnownPicture):
                    found[path] = image.features.to(self._model.device)
                    self.cached += 1
                else:
                    fresh.append((path, image))
        for part in self._parts(fresh):
            found.update(self._encode(part))
        for path, features in found.items():
            self._held[path] = features
            self._held.move_to_end(path)
        self._let_go()
        return found

    def clear(self) -> None:
        """Hold nothing any more."""
        self._held.clear()
        self._uses.clear()

    def _let_go(self) -> None:
        total = sum(len(features) for features in self._held.values())
        while total > HELD and len(self._held) > 1:
            total -= len(self._held.popitem(last=False)[1])

    def _parts(self, fresh: Sequence[tuple[str, Any]]) -> Iterable[list[tuple[str, Any, dict[str, Any]]]]:
        """Images that are encoded together, prepared: one at a time on a CPU (see `vision.encode`)."""
        part: list[tuple[str, Any, dict[str, Any]]] = []
        patches = 0
        for path, image in fresh:
            plain = image.image if isinstance(image, NamedPicture) else image
            try:
                prepared = dict(self._apart.picture(plain))
            except (ValueError, TypeError, RuntimeError) as error:
                raise DataError(f"image {path}: the processor refuses it", why=str(error)) from error
            count = len(prepared["pixel_values"])
            if part and (patches + count > TOGETHER or self._model.device.type == "cpu"):
                yield part
                part, patches = [], 0
            part.append((path, image, prepared))
            patches += count
        if part:
            yield part

    def _encode(self, part: Sequence[tuple[str, Any, dict[str, Any]]]) -> dict[str, Tensor]:
        device = self._model.device
        pixels, grid = (
            torch.cat([prepared.pop(name) for _path, _image, prepared in part])
            if len(part) > 1
            else part[0][2].pop(name)
            for name in ("pixel_values", "image_grid_thw")
        )
        features = encode(self._model, pixels.to(device), grid.to(device))
        self.encoded += len(features)
        if self._cache is not None:
            for (_path, image, _prepared), one in zip(part, features, strict=True):
                if isinstance(image, NamedPicture) and image.content:
                    self._cache.keep(image.content, image.size, one)
        return {path: one for (path, _image, _prepared), one in zip(part, features, strict=True)}


def _open(path: str) -> Any:
    from mg_tui.data.images import open_image

    return open_image(path)
