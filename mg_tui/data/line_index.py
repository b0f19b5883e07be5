"""Where the lines of a text file begin: an index, built once, kept in the cache, and believed only while it fits.

A checkpoint is a line number and the byte it begins at. One is taken every `LINES_PER_ANCHOR` lines or `BYTES_PER_ANCHOR` bytes,
whichever comes first: a jump then reads a few hundred kilobytes at most however long the lines are, and a million rows
cost a quarter of a megabyte. The kept file is written beside and renamed, so that it is whole or absent, and now and
then while building, so that an interrupted scan goes on where it was. It names the file it belongs to by size, time of
change, and a digest of its first and last bytes; whatever differs makes it worthless, and it is made again.
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
# Small enough that a thread which scans lets others run every millisecond or so.
_BLOCK_BYTES: Final = 2**20
_DIGEST_BYTES: Final = 4096
_SAVE_INTERVAL: Final = 5.0  # seconds
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What makes a file the same file: size in bytes, time of change in nanoseconds, digest of head and tail."""

    size: int
    mtime_ns: int
    digest: str


def is_compressed(path: Path) -> bool:
    """Whether a file is packed with gzip or zstd, so that places in its text are not places in the file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(4).startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd"))


def file_identity(path: Path) -> FileIdentity:
    """The identity of a file as it is now; reads 8 KB at most.

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
    """The lines of one file. One thread builds, any number read.

    Args:
        path: the file.
        cache: folder of the garden's cache; None keeps nothing.

    Raises:
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path, cache: Path | None):
        self.path = path
        self.identity = file_identity(path)
        name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:40]
        self._file = cache / "indexes" / name if cache is not None else None
        self._lock = threading.Lock()
        # Line numbers from 0, and the bytes they begin at.
        self._lines = array("Q", [0])
        self._offsets = array("Q", [0])
        self._scanned = 0
        self._seen = 0  # line ends among the scanned bytes
        self._ends_open = False
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
        """Lines of the file, a last one without a line end included; None while that is not known."""
        if not self.complete:
            return None
        return self._seen + (1 if self._ends_open else 0)

    @property
    def known_lines(self) -> int:
        """Lines scanned so far."""
        return self._seen

    def nearest_anchor(self, line: int) -> tuple[int, int]:
        """The last checkpoint at or before a line: its line number and byte, both from 0."""
        with self._lock:
            at = bisect_right(self._lines, line) - 1
            return self._lines[at], self._offsets[at]

    def build(
        self,
        progress: Callable[[float], None] | None = None,
        stop: Callable[[], bool] | None = None,
        *,
        until: int | None = None,
    ) -> bool:
        """Scan what has not been scanned; whether the index is complete then.

        Args:
            progress: called with the share that has been scanned, several times a second.
            stop: asked several times a second; true ends the scan, which keeps what it has.
            until: a line, from 0, to scan up to; all of the file when left out.

        Raises:
            OSError: the file cannot be read.
        """
        kept = told = time.monotonic()
        with self.path.open("rb") as file:
            file.seek(self._scanned)
            while not self.complete and (until is None or self._seen <= until):
                block = file.read(min(_BLOCK_BYTES, self.identity.size - self._scanned))
                if not block:  # it has become shorter: what is known of it is worth nothing
                    self._scanned = self.identity.size
                    return False
                self._scan_block(block)
                now = time.monotonic()
                if now - told > 0.1:
                    told = now
                    if progress is not None:
                        progress(self.scanned_share)
                    if stop is not None and stop():
                        break
                if now - kept > _SAVE_INTERVAL:
                    kept = now
                    self._save()
        if progress is not None:
            progress(self.scanned_share)
        self._save()
        return self.complete

    def _scan_block(self, block: bytes) -> None:
        lines, offsets = array("Q"), array("Q")
        last_line, last_offset = self._lines[-1], self._offsets[-1]
        at, seen = 0, self._seen
        while (found := block.find(b"\n", at)) >= 0:
            at = found + 1
            seen += 1
            offset = self._scanned + at
            if seen - last_line >= LINES_PER_ANCHOR or offset - last_offset >= BYTES_PER_ANCHOR:
                last_line, last_offset = seen, offset
                lines.append(seen)
                offsets.append(offset)
        with self._lock:
            self._lines += lines
            self._offsets += offsets
            self._seen = seen
            self._scanned += len(block)
            self._ends_open = not block.endswith(b"\n")

    # --- kept between runs -------------------------------------------------------------------------------------------

    def _save(self) -> None:
        """Write what is known; a cache that cannot be written costs the next scan and nothing else."""
        if self._file is None:
            return
        with self._lock:
            head = {
                "format": _FORMAT,
                "file": asdict(self.identity),
                "scanned": self._scanned,
                "seen": self._seen,
                "open": self._ends_open,
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
            fits = (
                head["format"] == _FORMAT
                and head["file"] == asdict(self.identity)
                and len(body) == 16 * count
                and head["sum"] == hashlib.sha256(body).hexdigest()
            )
            if not fits or count < 1:
                return
            lines, offsets = array("Q", body[: 8 * count]), array("Q", body[8 * count :])
            scanned, seen, ends_open = int(head["scanned"]), int(head["seen"]), bool(head["open"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        self._lines, self._offsets = lines, offsets
        self._scanned, self._seen, self._ends_open = scanned, seen, ends_open
