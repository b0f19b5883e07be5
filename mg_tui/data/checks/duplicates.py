"""Duplicate rows, and image files of equal content under different names."""

import hashlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mg_tui.data.checks.findings import Finding
from mg_tui.data.digests import conversation_digest, text_digest
from mg_tui.data.image_probe import ImageProbe
from mg_tui.data.row_loader import LoadedRow
from mg_tui.data.row_problems import quote_text

_BLOCK_BYTES: Final = 2**20


class DuplicateRowCheck:
    """Finds duplicate conversations, in 16 bytes a row."""

    def __init__(self) -> None:
        self.digests = array("Q")
        self._rows = array("Q")

    def check_row(self, row: LoadedRow) -> Iterator[Finding]:
        """See `Check`."""
        if row.example is not None:
            self.digests.append(conversation_digest(row.example))
            self._rows.append(row.number)
        return iter(())

    def finish(self) -> Iterator[Finding]:
        """See `Check`."""
        for first, repeat in find_duplicates(self.digests):
            yield Finding(self._rows[repeat], "row-repeated", None, f"duplicates row {self._rows[first]:,}")


def find_duplicates(values: "array[int]") -> Iterator[tuple[int, int]]:
    """(index of the first, index of the repeat) for every repeated value, ascending by the repeat's index."""
    if len(values) < 2:
        return
    import numpy as np

    array_values = np.frombuffer(values, dtype=np.uint64)
    order = np.argsort(array_values, kind="stable")
    ordered = array_values[order]
    starts = np.concatenate(([True], ordered[1:] != ordered[:-1]))
    first = order[np.maximum.accumulate(np.where(starts, np.arange(len(array_values)), 0))]
    repeats = np.flatnonzero(~starts)
    for index in repeats[np.argsort(order[repeats], kind="stable")]:
        yield int(first[index]), int(order[index])


class DuplicateImageCheck:
    """Finds image files of equal content. Only files of equal size and dimensions are read; most datasets have few."""

    def __init__(self) -> None:
        self._first: dict[int, str] = {}
        self._candidates: dict[int, list[tuple[str, int, str]]] = {}
        self._rows: dict[str, int] = {}
        self._checked: set[int] = set()

    def check_row(self, row: LoadedRow) -> Iterator[Finding]:
        """See `Check`."""
        for (name, _outcome), probe in zip(row.images, row.usable_images, strict=False):
            path = probe.resolved.ref.path
            key = image_signature(probe)
            if key is None or (path_digest := text_digest(path)) in self._checked:
                continue
            self._checked.add(path_digest)
            if key in self._candidates:
                self._candidates[key].append((path, row.number, name))
            elif key in self._first:
                self._candidates[key] = [(self._first.pop(key), self._rows.pop(str(key)), ""), (path, row.number, name)]
            else:
                self._first[key] = path
                self._rows[str(key)] = row.number
        return iter(())

    def finish(self) -> Iterator[Finding]:
        """See `Check`."""
        for candidates in self._candidates.values():
            known: dict[bytes, str] = {}
            for path, number, name in candidates:
                content = file_digest(Path(path))
                if content is None:
                    continue
                if content in known:
                    what = (
                        f"{quote_text(name, limit=80)} has the same content as {quote_text(known[content], limit=160)}"
                    )
                    yield Finding(number, "image-repeated", None, what, "use the same file in both rows")
                else:
                    known[content] = path


def image_signature(probe: ImageProbe) -> int | None:
    """A digest of size, dimensions and format, which files of equal content share; None when it was not opened."""
    info = probe.info
    return None if info is None else text_digest(f"{info.bytes} {info.width} {info.height} {info.format}")


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
