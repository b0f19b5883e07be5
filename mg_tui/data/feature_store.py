"""An on-disk cache of a frozen vision tower's features: images are decoded and encoded in the first epoch only.

An entry is named by a hash of everything it depends on (the image's bytes, its resize, the tower's weights, the dtype),
so an entry is correct or absent, and runs share the store. Files are written atomically and have a checksum: a damaged
one counts as absent. The store stays within a byte budget by evicting entries that were not used since it was opened;
when all entries are in use it accepts no more, since the next epoch needs those it has.

    MGF1 | header length (4 bytes) | header (JSON: shape, dtype, size of the image, crc32) | data
"""

import contextlib
import json
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_MAGIC: Final = b"MGF1"
_SUFFIX: Final = ".feat"
_RECOUNT_EVERY: Final = 256  # writes; other runs also write to the store


@dataclass(frozen=True, slots=True)
class CachedFeatures:
    """An entry: `data` in C order with `shape` and torch's name of the `dtype`; `size` of the image (width, height)."""

    shape: tuple[int, ...]
    dtype: str
    size: tuple[int, int]
    data: bytes


@dataclass(frozen=True, slots=True)
class FeatureStoreStats:
    """Size of a store: number of entries and bytes."""

    entries: int
    bytes: int


class FeatureStore:
    """A folder of entries of at most `budget` bytes. Safe to use from several processes at once."""

    def __init__(self, folder: Path, budget: int):
        self.folder = folder
        self.budget = budget
        self.hits = 0
        self.misses = 0
        self.rejected = 0
        self._opened = time.time()
        self._bytes = self.stats().bytes
        self._writes = 0

    def get(self, key: str) -> CachedFeatures | None:
        """The entry of a key (hexadecimal), or None. A damaged file is deleted and counts as absent."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            self.misses += 1
            return None
        entry = _unpack(content)
        if entry is None:
            with contextlib.suppress(OSError):
                path.unlink()
            self.misses += 1
            return None
        with contextlib.suppress(OSError):  # reading works in a read-only store too
            if path.stat().st_mtime < self._opened:
                os.utime(path)
        self.hits += 1
        return entry

    def put(self, key: str, entry: CachedFeatures) -> bool:
        """Store an entry; False when it does not fit into the budget or on the disk."""
        content = _pack(entry)
        if not self._make_room(len(content)):
            self.rejected += 1
            return False
        path = self._path(key)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
            temporary.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            self.rejected += 1
            return False
        self._bytes += len(content)
        return True

    def stats(self) -> FeatureStoreStats:
        """Count entries and bytes on disk."""
        sizes = [stat.st_size for _path, stat in self._files()]
        return FeatureStoreStats(len(sizes), sum(sizes))

    def clear(self) -> FeatureStoreStats:
        """Delete every entry; returns the previous size."""
        previous = self.stats()
        for path, _stat in self._files():
            with contextlib.suppress(OSError):
                path.unlink()
        self._bytes = 0
        return previous

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}{_SUFFIX}"

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self.folder.glob(f"??/*{_SUFFIX}"):
            with contextlib.suppress(OSError):  # another run may have evicted it
                yield path, path.stat()

    def _make_room(self, size: int) -> bool:
        self._writes += 1
        if self._writes % _RECOUNT_EVERY == 0:
            self._bytes = self.stats().bytes
        if self._bytes + size <= self.budget:
            return True
        entries = sorted((stat.st_mtime, stat.st_size, path) for path, stat in self._files())
        for last_used, entry_size, path in entries:
            if last_used >= self._opened or self._bytes + size <= self.budget:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                self._bytes -= entry_size
        return self._bytes + size <= self.budget


def _pack(entry: CachedFeatures) -> bytes:
    head: dict[str, Any] = {
        "shape": entry.shape,
        "dtype": entry.dtype,
        "size": entry.size,
        "crc32": zlib.crc32(entry.data),
        "bytes": len(entry.data),
    }
    header = json.dumps(head).encode()
    return b"".join((_MAGIC, len(header).to_bytes(4, "little"), header, entry.data))


def _unpack(content: bytes) -> CachedFeatures | None:
    if content[:4] != _MAGIC:
        return None
    start = 8 + int.from_bytes(content[4:8], "little")
    try:
        head = json.loads(content[8:start])
        data = content[start:]
        if len(data) != head["bytes"] or zlib.crc32(data) != head["crc32"]:
            return None
        width, height = head["size"]
        return CachedFeatures(tuple(head["shape"]), str(head["dtype"]), (int(width), int(height)), data)
    except (ValueError, KeyError, TypeError):
        return None
