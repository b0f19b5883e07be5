"""Rows that are there twice, and images that are there under two names."""

import hashlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mg_tui.data.checks.base import LoadedRow, conversation_digest, digest
from mg_tui.data.checks.findings import Finding
from mg_tui.data.image_probe import ImageProbe
from mg_tui.data.row_problems import quote_text

_BLOCK_BYTES: Final = 2**20


class DuplicateRowCheck:
    """Finds conversations that are there twice, in 16 bytes a row."""

    def __init__(self) -> None:
        self.digests = array("Q")
        self._rows = array("Q")

    def check_row(self, judged: LoadedRow) -> Iterator[Finding]:
        """See `Check`."""
        if judged.example is not None:
            self.digests.append(conversation_digest(judged.example))
            self._rows.append(judged.number)
        return iter(())

    def finish(self) -> Iterator[Finding]:
        """See `Check`."""
        for first, again in find_duplicates(self.digests):
            yield Finding(self._rows[again], "row-repeated", None, f"duplicates row {self._rows[first]:,}")


def find_duplicates(values: "array[int]") -> Iterator[tuple[int, int]]:
    """Places of values that were there before, ascending, each with the first place of the same value."""
    if len(values) < 2:
        return
    import numpy as np

    given = np.frombuffer(values, dtype=np.uint64)
    order = np.argsort(given, kind="stable")
    ordered = given[order]
    starts = np.concatenate(([True], ordered[1:] != ordered[:-1]))
    first = order[np.maximum.accumulate(np.where(starts, np.arange(len(given)), 0))]
    again = np.flatnonzero(~starts)
    for place in again[np.argsort(order[again], kind="stable")]:
        yield int(first[place]), int(order[place])


class DuplicateImageCheck:
    """Finds files of equal content. Only files of equal size and dimensions are read: few datasets have many."""

    def __init__(self) -> None:
        self._first: dict[int, str] = {}
        self._alike: dict[int, list[tuple[str, int, str]]] = {}
        self._rows: dict[str, int] = {}
        self._seen: set[int] = set()

    def check_row(self, judged: LoadedRow) -> Iterator[Finding]:
        """See `Check`."""
        for given, outcome in zip((given for given, _outcome in judged.images), judged.usable_images, strict=False):
            if outcome.info is None:
                continue
            path = outcome.resolved.ref.path
            if (name := digest(path)) in self._seen:
                continue
            self._seen.add(name)
            key = image_signature(outcome)
            assert key is not None
            if key in self._alike:
                self._alike[key].append((path, judged.number, given))
            elif key in self._first:
                self._alike[key] = [(self._first.pop(key), self._rows.pop(str(key)), ""), (path, judged.number, given)]
            else:
                self._first[key] = path
                self._rows[str(key)] = judged.number
        return iter(())

    def finish(self) -> Iterator[Finding]:
        """See `Check`."""
        for alike in self._alike.values():
            known: dict[bytes, str] = {}
            for path, row, given in alike:
                content = file_digest(Path(path))
                if content is None:
                    continue
                if content in known:
                    what = (
                        f"{quote_text(given, limit=80)} has the same content as {quote_text(known[content], limit=160)}"
                    )
                    yield Finding(row, "image-repeated", None, what, "use the same file in both rows")
                else:
                    known[content] = path


def image_signature(found: ImageProbe) -> int | None:
    """A number that files of equal content share, and few others; None when the file was not opened."""
    info = found.info
    return None if info is None else digest(f"{info.bytes} {info.width} {info.height} {info.format}")


def file_digest(path: Path) -> bytes | None:
    """A digest of a file's bytes; None when it cannot be read."""
    try:
        with path.open("rb") as file:
            state = hashlib.blake2b(digest_size=16)
            while block := file.read(_BLOCK_BYTES):
                state.update(block)
    except OSError:
        return None
    return state.digest()
