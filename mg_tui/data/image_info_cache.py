"""What was seen in image files, kept: a file that has not changed since need not be opened again.

Kept are sizes and formats of good images by path, size and time of change, and whether every pixel was decoded. Images
that cannot be used are looked at again every time: somebody may be repairing them.
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
    """A store of looks in the cache folder. May be used from several threads and processes.

    A store that cannot be opened, read or written is an empty one: it saves time and decides nothing.
    """

    def __init__(self, cache: Path | None):
        self._lock = threading.Lock()
        self._new: list[tuple[object, ...]] = []
        self._database: sqlite3.Connection | None = None
        if cache is None:
            return
        with suppress(OSError, sqlite3.Error):
            folder = cache / "looks"
            folder.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(folder / "looks.sqlite", timeout=5, check_same_thread=False)
            database.execute("pragma journal_mode = wal")
            database.execute("pragma synchronous = off")  # what a crash loses is looked at again
            database.execute(_SCHEMA)
            self._database = database

    def get(self, path: str, *, decoded: bool) -> ImageInfo | None:
        """What is known of a file as it is now; None when nothing is, or it was not `decoded` and that is asked."""
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
        """Keep what was seen."""
        if self._database is None:
            return
        with suppress(OSError, ValueError):
            status = os.stat(path)  # noqa: PTH116
            if status.st_size != info.bytes:
                return
            values = (info.width, info.height, info.format, info.mode, int(info.animated))
            with self._lock:
                self._new.append((os.fsencode(path), status.st_size, status.st_mtime_ns, int(decoded), *values))
                full = len(self._new) >= _FLUSH_ROWS
            if full:
                self.flush()

    def flush(self) -> None:
        """Write what is not written."""
        with self._lock:
            new, self._new = self._new, []
            self._write(new)

    def _write(self, new: Sequence[tuple[object, ...]]) -> None:
        if self._database is None or not new:
            return
        with suppress(sqlite3.Error), self._database:
            self._database.executemany("insert or replace into looks_1 values (?, ?, ?, ?, ?, ?, ?, ?, ?)", new)

    def close(self) -> None:
        """Write what is not written, and close."""
        self.flush()
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
            self._database = None
