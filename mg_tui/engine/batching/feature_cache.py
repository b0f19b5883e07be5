"""Features of a frozen vision tower kept on disk between epochs and runs (see `mg_tui.data.feature_store`).

The processes that read images look in the store first: an image whose features are there is neither decoded nor
shaped. They start before the model is loaded, and what names an entry includes a digest of the tower's weights, so they
learn that digest through shared memory as soon as it is known and read images until then.

An entry's name is a hash of the file's bytes, of how images are shaped (the image processor's settings), of the tower
and projector's weights, of the dtype, and of everything that decides how sums are rounded (versions, kind of device,
threads): features are right to the last bit, or not found.
"""

import hashlib
import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import torch

from mg_tui.data.feature_store import CachedFeatures, FeatureStore
from mg_tui.families.family import ModelFamily

_DIGEST_BYTES = 32
_ENCODING_VERSION = 2  # raised when `vision.encode` computes otherwise: kept features are then made anew
_MAX_READ_SHARE = 0.5  # reading must take less than this share of the time of encoding


class CachedImage:
    """An image whose features are known: `size` (width, height) in pixels, and `features` (tokens, width)."""

    def __init__(self, size: tuple[int, int], features: torch.Tensor):
        self.size = size
        self.features = features


class FeatureCache:
    """Looks up and keeps features for one run; shared by the processes that read images and the one that trains.

    Args:
        store: where they are kept.
        shaping: what describes how an image becomes model input, e.g. the image processor's settings.
    """

    def __init__(self, store: FeatureStore, shaping: object):
        self.store = store
        self._processor_settings = json.dumps(shaping, sort_keys=True, default=str).encode()
        self._digest = multiprocessing.Array("B", _DIGEST_BYTES)
        self._known = multiprocessing.Value("b", 0)
        self.enabled = True

    def image_digest(self, path: str) -> str:
        """A digest of an image's bytes.

        Raises:
            OSError: it cannot be read.
        """
        return hashlib.blake2b(Path(path).read_bytes(), digest_size=_DIGEST_BYTES).hexdigest()

    def enable_for(self, tower: bytes) -> None:
        """From now on features of the tower with this digest are looked up, in every process."""
        self._digest[:] = list(tower)
        self._known.value = 1

    def close(self) -> None:
        """Look nothing up any more, in any process."""
        self._known.value = 0
        self.enabled = False

    def find(self, content: str) -> CachedImage | None:
        """The features of an image by the digest of its bytes, or None."""
        if not self._known.value:
            return None
        found = self.store.get(self._key(content))
        if found is None:
            return None
        raw = torch.frombuffer(bytearray(found.data), dtype=getattr(torch, found.dtype))
        return CachedImage(found.size, raw.view(found.shape))

    def put(self, content: str, size: tuple[int, int], features: torch.Tensor) -> bool:
        """Keep an image's features (tokens, width); False when there is no room."""
        if not self._known.value:
            return False
        held = features.detach().to("cpu").contiguous()
        data = held.view(torch.uint8).numpy().tobytes()
        entry = CachedFeatures(tuple(held.shape), str(held.dtype).removeprefix("torch."), size, data)
        return self.store.put(self._key(content), entry)

    def is_worthwhile(self, content: str, encode_seconds: float) -> tuple[bool, str]:
        """Whether reading back an image just kept is quicker than encoding it was; and the figures in words."""
        start = time.perf_counter()
        self.find(content)
        read = time.perf_counter() - start
        return (
            read < _MAX_READ_SHARE * encode_seconds,
            f"{encode_seconds * 1e3:.1f} ms to encode, {read * 1e3:.1f} ms to read",
        )

    def _key(self, content: str) -> str:
        name = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        for part in (content.encode(), self._processor_settings, bytes(self._digest[:])):
            name.update(len(part).to_bytes(8, "little") + part)
        return name.hexdigest()


def vision_digest(model: Any, family: ModelFamily) -> bytes:
    """A digest of all weights that images go through, of their dtype, and of what computes with them.

    A run that is gone on with is the same to the last bit only with features that are, and those depend on the library
    and on the number of threads that share a matrix product.

    Args:
        model: the model before or inside PEFT; names are taken as the family knows them.
    """
    import transformers

    device = next(model.parameters()).device
    how = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    made_by = (_ENCODING_VERSION, transformers.__version__, torch.__version__, device.type, how)
    digest = hashlib.blake2b(repr(made_by).encode(), digest_size=_DIGEST_BYTES)
    for name, weights in sorted(model.state_dict().items()):
        inner = name.removeprefix("base_model.model.")
        if family.parts.part_of(inner) in ("vision", "projector"):
            held = weights.detach().to("cpu").contiguous()
            digest.update(f"{inner} {held.dtype} {tuple(held.shape)}".encode())
            digest.update(held.reshape(-1).view(torch.uint8).numpy())
    return digest.digest()
