"""An index of the lines of a text file, built once, cached on disk, and used only while it matches the file.

An anchor is a line number and its byte offset. There is one every `LINES_PER_ANCHOR` lines or `BYTES_PER_ANCHOR` bytes,
whichever comes first: a jump then reads a few hundred kilobytes at most, however long the lines are, and a million rows
take a quarter of a megabyte. The cache file is written atomically, also every few seconds while building, so that an
interrupted scan continues where it stopped. It identifies the indexed file by size, modification time and a digest of
its first and last bytes; if any of them differs, the index is rebuilt.
"""

import hashlib
import json
import os
import tempfile
import threading
import time
from array import array
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

LINES_PER_ANCHOR: Final = 64
BYTES_PER_ANCHOR: Final = 2**20
# Small enough that a scanning thread releases the GIL about every millisecond.
_BLOCK_BYTES: Final = 2**20
_DIGEST_BYTES: Final = 4096
SAVE_INTERVAL: Final = 5.0  # seconds
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Identity of a file's content: size in bytes, modification time in ns, digest of its first and last bytes."""

    size: int
    mtime_ns: int
    digest: str


def file_identity(path: Path) -> FileIdentity:
    """The current identity of a file; reads 8 KB at most.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        digest = hashlib.sha256(file.read(_DIGEST_BYTES))
        if status.st_size > _DIGEST_BYTES:
            file.seek(max(status.st_size - _DIGEST_BYTES, _DIGEST_BYTES))
            digest.update(file.read(_DIGEST_BYTES))
    return FileIdentity(status.st_size, status.st_mtime_ns, digest.hexdigest())


class LineIndex:
    """The line index of one file. One thread may build while any number of threads read.

    Attributes:
        kind: what is counted.

    Args:
        path: the file.
        cache: the garden's cache folder; None caches nothing on disk.

    Raises:
        OSError: the file cannot be read.
    """

    kind = "lines"

    def __init__(self, path: Path, cache: Path | None):
        self.path = path
        self.identity = file_identity(path)
        name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:40]
        if self.kind != "lines":
            name += f"-{self.kind}"
        self._file = cache / "indexes" / name if cache is not None else None
        self._lock = threading.Lock()
        # Anchors: line numbers from 0, and their byte offsets.
        self._lines = array("Q", [0])
        self._offsets = array("Q", [0])
        self._scanned = 0
        self._line_ends = 0  # in the scanned bytes
        self._ends_without_newline = False
        self._load()

    @property
    def complete(self) -> bool:
        """Whether the whole file has been scanned."""
        return self._scanned >= self.identity.size

    @property
    def scanned_share(self) -> float:
        """Share of the file that has been scanned, 0 to 1."""
        return self._scanned / self.identity.size if self.identity.size else 1.0

    @property
    def line_count(self) -> int | None:
        """Lines of the file, a last one without a newline included; None while it is not completely scanned."""
        if not self.complete:
            return None
        return self._line_ends + (1 if self._ends_without_newline else 0)

    def nearest_anchor(self, line: int) -> tuple[int, int]:
        """(line number, byte offset), both from 0, of the last anchor at or before a line."""
        with self._lock:
            index = bisect_right(self._lines, line) - 1
            return self._lines[index], self._offsets[index]

    def build(
        self,
        progress: Callable[[float], None] | None = None,
        stop: Callable[[], bool] | None = None,
        *,
        until: int | None = None,
    ) -> bool:
        """Scan the rest of the file; returns whether the index is complete.

        Args:
            progress: called with the scanned share, 0 to 1, several times a second.
            stop: polled several times a second; True ends the scan, anchors found so far are retained.
            until: the line, from 0, to scan up to; the whole file when None.

        Raises:
            OSError: the file cannot be read.
        """
        saved = reported = time.monotonic()
        with self.path.open("rb") as file:
            file.seek(self._scanned)
            while not self.complete and (until is None or self._line_ends <= until):
                block = file.read(min(_BLOCK_BYTES, self.identity.size - self._scanned))
                if not block:  # the file was truncated: the index is invalid
                    self._scanned = self.identity.size
                    return False
                self._scan_block(block)
                now = time.monotonic()
                if now - reported > 0.1:
                    reported = now
                    if progress is not None:
                        progress(self.scanned_share)
                    if stop is not None and stop():
                        break
                if now - saved > SAVE_INTERVAL:
                    saved = now
                    self._save()
        if progress is not None:
            progress(self.scanned_share)
        self._save()
        return self.complete

    def _scan_block(self, block: bytes) -> None:
        lines, offsets = array("Q"), array("Q")
        last_line, last_offset = self._lines[-1], self._offsets[-1]
        position, line = 0, self._line_ends
        while (newline := block.find(b"\n", position)) >= 0:
            position = newline + 1
            line += 1
            offset = self._scanned + position
            if line - last_line >= LINES_PER_ANCHOR or offset - last_offset >= BYTES_PER_ANCHOR:
                last_line, last_offset = line, offset
                lines.append(line)
                offsets.append(offset)
        with self._lock:
            self._lines += lines
            self._offsets += offsets
            self._line_ends = line
            self._scanned += len(block)
            self._ends_without_newline = not block.endswith(b"\n")

    # --- cache file --------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        """Write the anchors to the cache; if that fails, the next process scans again."""
        if self._file is None:
            return
        with self._lock:
            head = {
                "format": _FORMAT,
                "file": asdict(self.identity),
                "scanned": self._scanned,
                "seen": self._line_ends,
                "open": self._ends_without_newline,
                "checkpoints": len(self._lines),
            }
            body = self._lines.tobytes() + self._offsets.tobytes()
        head["sum"] = hashlib.sha256(body).hexdigest()
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=".index-", dir=self._file.parent)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(json.dumps(head).encode() + b"\n" + body)
                Path(name).replace(self._file)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError:
            return

    def _load(self) -> None:
        if self._file is None:
            return
        try:
            first, _line_end, body = self._file.read_bytes().partition(b"\n")
            head: dict[str, Any] = json.loads(first)
            count = int(head["checkpoints"])
            valid = (
                head["format"] == _FORMAT
                and head["file"] == asdict(self.identity)
                and len(body) == 16 * count
                and head["sum"] == hashlib.sha256(body).hexdigest()
            )
            if not valid or count < 1:
                return
            lines, offsets = array("Q", body[: 8 * count]), array("Q", body[8 * count :])
            scanned, line_ends = int(head["scanned"]), int(head["seen"])
            ends_without_newline = bool(head["open"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        self._lines, self._offsets = lines, offsets
        self._scanned, self._line_ends, self._ends_without_newline = scanned, line_ends, ends_without_newline
