"""A cache of what image files contain: a file that has not changed since is not opened again.

Cached are dimensions and formats of usable images, and whether every pixel was decoded; the key is path, size and
modification time. Unusable images are probed again every time, since they may have been repaired.
"""

import os
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from mg_tui.data.images import ImageInfo

_SCHEMA: Final = """
create table if not exists looks_1 (
    path blob primary key, size integer, changed integer, decoded integer,
    width integer, height integer, format text, mode text, animated integer
) without rowid"""
_FLUSH_ROWS: Final = 2000


class ImageInfoCache:
    """An SQLite database in the cache folder. Safe to use from several threads and processes.

    A database that cannot be opened, read or written acts as an empty one: it only saves time.
    """

    def __init__(self, cache: Path | None):
        self._lock = threading.Lock()
        self._buffer: list[tuple[object, ...]] = []
        self._database = _open(cache) if cache is not None else None

    def get(self, path: str, *, decoded: bool) -> ImageInfo | None:
        """The info of an unchanged file; None when it is not cached, or not `decoded` where that is required."""
        if self._database is None:
            return None
        try:
            status = os.stat(path)  # noqa: PTH116 - a third of the time of Path.stat, for every image of a dataset
            with self._lock:
                row = self._database.execute(
                    "select size, changed, decoded, width, height, format, mode, animated from looks_1 where path = ?",
                    (os.fsencode(path),),
                ).fetchone()
        except (OSError, ValueError, sqlite3.Error):
            return None
        if row is None or row[:2] != (status.st_size, status.st_mtime_ns) or (decoded and not row[2]):
            return None
        return ImageInfo(row[3], row[4], row[5], row[6], row[0], bool(row[7]))

    def put(self, path: str, info: ImageInfo, *, decoded: bool) -> None:
        """Store the info of a file."""
        if self._database is None:
            return
        with suppress(OSError, ValueError):
            status = os.stat(path)  # noqa: PTH116
            if status.st_size != info.bytes:
                return
            values = (info.width, info.height, info.format, info.mode, int(info.animated))
            with self._lock:
                self._buffer.append((os.fsencode(path), status.st_size, status.st_mtime_ns, int(decoded), *values))
                full = len(self._buffer) >= _FLUSH_ROWS
            if full:
                self.flush()

    def flush(self) -> None:
        """Write buffered rows."""
        with self._lock:
            rows, self._buffer = self._buffer, []
            self._write(rows)

    def _write(self, rows: Sequence[tuple[object, ...]]) -> None:
        if self._database is None or not rows:
            return
        with suppress(sqlite3.Error), self._database:
            self._database.executemany("insert or replace into looks_1 values (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def close(self) -> None:
        """Write buffered rows and close the database."""
        self.flush()
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
            self._database = None


def _open(cache: Path) -> sqlite3.Connection | None:
    with suppress(OSError, sqlite3.Error):
        folder = cache / "looks"
        folder.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(folder / "looks.sqlite", timeout=5, check_same_thread=False)
        try:
            database.execute("pragma journal_mode = wal")
            database.execute("pragma synchronous = off")  # what a crash loses is probed again
            database.execute(_SCHEMA)
        except sqlite3.Error:
            database.close()
            raise
        return database
    return None
