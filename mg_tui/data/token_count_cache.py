"""Token counts of conversations, kept by what is said in them: a dataset is counted once, and then only its changes."""

import hashlib
import os
import struct
import tempfile
import threading
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mg_tui.core.example import Example, ImagePart
from mg_tui.data.checks.base import digest
from mg_tui.data.checks.lengths import TextTokenCounter, TextTokenCounts

_MAGIC: Final = b"mgcount1"
_MAX_STALE_COUNTS: Final = 100_000


def text_digest(example: Example) -> int:
    """A digest of what is said, by whom, and where images stand; which images they are does not matter."""
    parts: list[str] = []
    for message in example.messages:
        parts.append(f"\1{message.role}{message.supervised:d}")
        parts += ["\2" if isinstance(part, ImagePart) else part.text for part in message.parts]
    return digest(*parts)


class CachedTokenCounter:
    """A `TextTokenCounter` that asks another only for what it does not know; 16 bytes a conversation. Thread-safe.

    Args:
        counter: counts what is not known.
        cache: the garden's cache folder; None keeps nothing.
        dataset: whose counts are kept together.
    """

    def __init__(self, counter: TextTokenCounter, cache: Path | None, dataset: str):
        self.identity = counter.identity
        self._counter = counter
        name = hashlib.sha256(f"{counter.identity}\0{dataset}".encode("utf-8", "surrogatepass")).hexdigest()[:40]
        self._file = cache / "tokens" / name if cache is not None else None
        self._digests, self._texts, self._learned = array("Q"), array("I"), array("I")
        self._lock = threading.Lock()
        self._asked, self._asked_texts, self._asked_learned = array("Q"), array("I"), array("I")
        self._missed = False
        self._load()

    def count(self, examples: Sequence[Example]) -> list[TextTokenCounts]:
        """See `TextTokenCounter`."""
        keys = [text_digest(example) for example in examples]
        found: dict[int, TextTokenCounts] = {}
        missing: dict[int, Example] = {}
        for key, example in zip(keys, examples, strict=True):
            known = self._lookup(key)
            if known is not None:
                found[key] = known
            else:
                missing[key] = example
        if missing:
            found.update(zip(missing, self._counter.count(list(missing.values())), strict=True))
        with self._lock:
            self._missed = self._missed or bool(missing)
            for key, value in found.items():
                if not isinstance(value, str):
                    self._asked.append(key)
                    self._asked_texts.append(value[0])
                    self._asked_learned.append(value[1])
        return [found[key] for key in keys]

    def _lookup(self, key: int) -> tuple[int, int] | None:
        at = bisect_left(self._digests, key)
        if at < len(self._digests) and self._digests[at] == key:
            return self._texts[at], self._learned[at]
        return None

    def save(self) -> None:
        """Keep what was counted beside what was kept; a cache that cannot be written is let go.

        What was kept and not asked for stays, since a check may have been stopped early, as long as it is not much.
        """
        if self._file is None or not self._missed:
            return
        import numpy as np

        much = len(self._digests) > 2 * len(self._asked) + _MAX_STALE_COUNTS
        before = [] if much else [(self._digests, self._texts, self._learned)]
        columns = zip(*before, (self._asked, self._asked_texts, self._asked_learned), strict=True)
        digests, texts, learned = (np.concatenate([np.asarray(part) for part in column]) for column in columns)
        ordered, first = np.unique(digests, return_index=True)
        body = ordered.tobytes() + texts[first].tobytes() + learned[first].tobytes()
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
        self._learned = array("I", body[12 * count :])
