"""Cache on disk for features of a frozen vision tower, across epochs and runs (see `mg_tui.data.feature_store`).

The data workers look in the store first: an image with cached features is neither decoded nor preprocessed. They start
before the model is loaded, and the key of an entry includes a digest of the tower's weights, so they get that digest
through shared memory once it is known and read images until then.

The key of an entry is a hash of the file's bytes, the image processor's settings, the weights of tower and projector,
the dtype, and everything that affects rounding (versions, kind of device, threads): features are bit for bit those that
would be computed, or missing.
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
_ENCODING_VERSION = 2  # increased when `vision_inputs.encode_images` changes: invalidates cached features
_MAX_READ_SHARE = 0.5  # reading must take less than this share of the time of encoding


class CachedImage:
    """An image whose features are known: `size` (width, height) in pixels, and `features`, see `Vision`."""

    def __init__(self, size: tuple[int, int], features: torch.Tensor):
        self.size = size
        self.features = features


class FeatureCache:
    """Reads and writes the features of a run; shared by the data workers and the training process.

    Args:
        store: the files.
        shaping: everything that determines how an image is preprocessed, e.g. the image processor's settings.
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
        """Use features of the tower with this digest from now on, in every process."""
        self._digest[:] = list(tower)
        self._known.value = 1

    def close(self) -> None:
        """Disable the cache in every process."""
        self._known.value = 0
        self.enabled = False

    def find(self, content: str) -> CachedImage | None:
        """The features of an image by the digest of its bytes, or None."""
        if not self._known.value:
            return None
        entry = self.store.get(self._key(content))
        if entry is None:
            return None
        raw = torch.frombuffer(bytearray(entry.data), dtype=getattr(torch, entry.dtype))
        return CachedImage(entry.size, raw.view(entry.shape))

    def put(self, content: str, size: tuple[int, int], features: torch.Tensor) -> bool:
        """Store an image's features, see `Vision`; False when the store is full."""
        if not self._known.value:
            return False
        on_cpu = features.detach().to("cpu").contiguous()
        data = on_cpu.view(torch.uint8).numpy().tobytes()
        entry = CachedFeatures(tuple(on_cpu.shape), str(on_cpu.dtype).removeprefix("torch."), size, data)
        return self.store.put(self._key(content), entry)

    def is_worthwhile(self, content: str, encode_seconds: float) -> tuple[bool, str]:
        """Whether reading an image just stored is faster than encoding it was; and the times as text."""
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

    A resumed run is bit for bit the same only if its features are, and those depend on the library and on the number of
    threads of a matrix product.

    Args:
        model: the model before or inside PEFT; names are taken as the family knows them.
    """
    import transformers

    device = next(model.parameters()).device
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    made_by = (_ENCODING_VERSION, transformers.__version__, torch.__version__, device.type, hardware)
    digest = hashlib.blake2b(repr(made_by).encode(), digest_size=_DIGEST_BYTES)
    for name, weights in sorted(model.state_dict().items()):
        inner = name.removeprefix("base_model.model.")
        if family.parts.part_of(inner) in ("vision", "projector"):
            on_cpu = weights.detach().to("cpu").contiguous()
            digest.update(f"{inner} {on_cpu.dtype} {tuple(on_cpu.shape)}".encode())
            digest.update(on_cpu.reshape(-1).view(torch.uint8).numpy())
    return digest.digest()
