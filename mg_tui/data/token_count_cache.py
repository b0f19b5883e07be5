"""A cache of token counts by the text of conversations: a dataset is counted once, afterwards only its changes."""

import hashlib
import os
import struct
import tempfile
import threading
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.example import Example
from mg_tui.data.checks.lengths import TextTokenCounter, TextTokenCounts
from mg_tui.data.digests import token_count_key
from mg_tui.data.example_table import select_examples

if TYPE_CHECKING:
    import numpy

_MAGIC: Final = b"mgcount1"
_MAX_STALE_COUNTS: Final = 100_000
_BLOCK_EXAMPLES: Final = 2**17


class CachedTokenCounter:
    """A `TextTokenCounter` that calls another only for uncached conversations; 16 bytes each. Thread-safe.

    Args:
        counter: counts conversations that are not cached.
        cache: the garden's cache folder; None caches nothing.
        dataset: address of the dataset, whose counts are stored in one file.
        partial: only some of its rows are counted, so that unused counts say nothing.
    """

    def __init__(self, counter: TextTokenCounter, cache: Path | None, dataset: str, *, partial: bool = False):
        self.identity = counter.identity
        self._counter = counter
        self._partial = partial
        name = hashlib.sha256(f"{counter.identity}\0{dataset}".encode("utf-8", "surrogatepass")).hexdigest()[:40]
        self._file = cache / "tokens" / name if cache is not None else None
        self._digests, self._texts, self._supervised = array("Q"), array("I"), array("I")
        self._lock = threading.Lock()
        self._used, self._used_texts, self._used_supervised = array("Q"), array("I"), array("I")
        self._changed = False
        self._load()

    def count(self, examples: Sequence[Example]) -> list[TextTokenCounts]:
        """See `TextTokenCounter`."""
        keys = [token_count_key(example) for example in examples]
        counts: dict[int, TextTokenCounts] = {}
        missing: dict[int, Example] = {}
        for key, example in zip(keys, examples, strict=True):
            cached = self._lookup(key)
            if cached is not None:
                counts[key] = cached
            else:
                missing[key] = example
        if missing:
            counts.update(zip(missing, self._counter.count(list(missing.values())), strict=True))
        with self._lock:
            self._changed = self._changed or bool(missing)
            for key, value in counts.items():
                if not isinstance(value, str):
                    self._used.append(key)
                    self._used_texts.append(value[0])
                    self._used_supervised.append(value[1])
        return [counts[key] for key in keys]

    def count_all(
        self, examples: Sequence[Example], keys: "array[int]"
    ) -> "tuple[numpy.ndarray[Any, Any], dict[int, str]]":
        """The tokens of each example, as `count` has them, and by index why those cannot be counted that have none.

        Args:
            examples: the examples; only those whose counts are not cached are read.
            keys: the `token_count_key` of each.
        """
        import numpy as np

        wanted, first = np.unique(np.asarray(keys, dtype=np.uint64), return_index=True)
        known = np.asarray(self._digests, dtype=np.uint64)
        at = np.searchsorted(known, wanted)
        hit = np.zeros(len(wanted), dtype=bool)
        inside = at < len(known)
        hit[inside] = known[at[inside]] == wanted[inside]
        texts, supervised = np.zeros(len(wanted), dtype=np.uint32), np.zeros(len(wanted), dtype=np.uint32)
        texts[hit] = np.asarray(self._texts, dtype=np.uint32)[at[hit]]
        supervised[hit] = np.asarray(self._supervised, dtype=np.uint32)[at[hit]]
        failed: dict[int, str] = {}
        # In the order of the file, so that records are read one after the other.
        missing = sorted(np.flatnonzero(~hit).tolist(), key=first.__getitem__)
        for start in range(0, len(missing), _BLOCK_EXAMPLES):
            block = missing[start : start + _BLOCK_EXAMPLES]
            chosen = select_examples(examples, [int(first[number]) for number in block])
            for number, count in zip(block, self._counter.count(chosen), strict=True):
                if isinstance(count, str):
                    failed[number] = count
                else:
                    texts[number], supervised[number] = count
            self._add_used(wanted, texts, supervised, [number for number in block if number not in failed])
            self.save(finished=False)  # a run that is stopped need not count them again
        self._add_used(wanted, texts, supervised, np.flatnonzero(hit))
        self._changed = bool(missing)
        place = np.searchsorted(wanted, np.asarray(keys, dtype=np.uint64))
        if not failed:
            return texts[place], {}
        return texts[place], {index: failed[number] for index, number in enumerate(place.tolist()) if number in failed}

    def _add_used(self, keys: Any, texts: Any, supervised: Any, chosen: Any) -> None:
        with self._lock:
            self._changed = True
            self._used.frombytes(keys[chosen].tobytes())
            self._used_texts.frombytes(texts[chosen].tobytes())
            self._used_supervised.frombytes(supervised[chosen].tobytes())

    def _lookup(self, key: int) -> tuple[int, int] | None:
        at = bisect_left(self._digests, key)
        if at < len(self._digests) and self._digests[at] == key:
            return self._texts[at], self._supervised[at]
        return None

    def save(self, *, finished: bool = True) -> None:
        """Write the counts to the cache; a cache that cannot be written is ignored.

        Args:
            finished: every row has been counted.

        Cached counts that were not used are retained, since a check may have been stopped early, unless they are many.
        """
        if self._file is None or not self._changed:
            return
        import numpy as np

        too_many = finished and not self._partial and len(self._digests) > 2 * len(self._used) + _MAX_STALE_COUNTS
        cached = [] if too_many else [(self._digests, self._texts, self._supervised)]
        columns = zip(*cached, (self._used, self._used_texts, self._used_supervised), strict=True)
        digests, texts, supervised = (np.concatenate([np.asarray(part) for part in column]) for column in columns)
        ordered, first = np.unique(digests, return_index=True)
        body = ordered.tobytes() + texts[first].tobytes() + supervised[first].tobytes()
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=".tokens-", dir=self._file.parent)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_MAGIC + struct.pack("<Q", len(ordered)) + hashlib.sha256(body).digest() + body)
            Path(name).replace(self._file)
        except OSError:
            return

    def _load(self) -> None:
        if self._file is None:
            return
        try:
            content = self._file.read_bytes()
        except OSError:
            return
        if len(content) < 48 or content[:8] != _MAGIC:
            return
        (count,) = struct.unpack("<Q", content[8:16])
        body = content[48:]
        if len(body) != 16 * count or hashlib.sha256(body).digest() != content[16:48]:
            return
        self._digests = array("Q", body[: 8 * count])
        self._texts = array("I", body[8 * count : 12 * count])
        self._supervised = array("I", body[12 * count :])
