"""An index of the items of a JSON array: as the line index, with items in place of lines.

Between two items the scan is at the depth of the array and outside strings, so it can start at any anchor.
"""

import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from mg_tui.data.line_index import BYTES_PER_ANCHOR, LINES_PER_ANCHOR, SAVE_INTERVAL, LineIndex
from mg_tui.data.rows import Row
from mg_tui.data.sources.json_array import ArrayScanner

_REPORT_ITEMS: Final = 256


class ItemIndex(LineIndex):
    """The index of one file with a JSON array; see `LineIndex`."""

    kind = "items"

    def build(
        self,
        progress: Callable[[float], None] | None = None,
        stop: Callable[[], bool] | None = None,
        *,
        until: int | None = None,
    ) -> bool:
        """Scan the rest of the file; see `LineIndex.build`."""
        if self.complete or (until is not None and self._line_ends > until):
            return self.complete
        saved = reported = time.monotonic()
        with self.path.open("rb") as file:
            for row in self.scan(file, self._lines[-1]):
                self._add(row)
                if until is not None and row.number > until:
                    break
                if row.number % _REPORT_ITEMS:
                    continue
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
            else:
                self._scanned = self.identity.size
        if progress is not None:
            progress(self.scanned_share)
        self._save()
        return self.complete

    def _add(self, row: Row) -> None:
        with self._lock:
            if (
                row.number - 1 - self._lines[-1] >= LINES_PER_ANCHOR
                or row.offset - self._offsets[-1] >= BYTES_PER_ANCHOR
            ):
                self._lines.append(row.number - 1)
                self._offsets.append(row.offset)
            self._line_ends = row.number
            self._scanned = min(row.offset + row.length, self.identity.size - 1)

    def scan(self, file: BinaryIO, item: int, *, parse_from: int | None = None) -> Iterator[Row]:
        """Rows from the anchor at or before an item (from 0) on.

        Args:
            file: the file, opened for reading bytes.
            item: where to start.
            parse_from: number of the first row whose values are parsed; None parses none.
        """
        first, offset = self.nearest_anchor(item)
        file.seek(offset)
        return iter(ArrayScanner(file, first, offset if first else None, parse_from=parse_from))
