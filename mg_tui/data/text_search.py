"""Search a text in the lines of a JSON Lines file.

Whole blocks are tested first, then the lines of a block that may match; only lines that may match are parsed.
"""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from mg_tui.data.jsonl import read_row
from mg_tui.data.progress import Stop
from mg_tui.data.rows import MAX_ROW_BYTES, Row

_BLOCK_BYTES: Final = 2**20


class TextQuery:
    """A text to search in rows, as it is and as JSON may escape it; case is ignored."""

    def __init__(self, text: str):
        self._folded = text.casefold()
        spellings = {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
        # bytes.lower() changes ASCII letters only. A text with other letters, whose case and escapes may vary, is
        # prefiltered by its longest run of ASCII characters.
        self._bytes: tuple[bytes, ...] = tuple({spelling.encode("utf-8", "replace").lower() for spelling in spellings})
        if not text.isascii():
            runs = "".join(c if c.isascii() and c not in '"\\/' and c >= " " else "\0" for c in text).split("\0")
            self._bytes = (max(runs, key=len).encode().lower(),)

    def may_match(self, lowered: bytes) -> bool:
        """Whether lower-cased lines may match; never False when they do."""
        return any(needle in lowered for needle in self._bytes)

    def matches_row(self, row: Row) -> bool:
        """Whether one of the row's texts contains it, or the line itself when it could not be parsed."""
        if row.values is None:
            return row.problem is not None and self._folded in row.problem.raw.casefold()
        return any(self._folded in text.casefold() for text in _walk_texts(row.values))


def _walk_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _walk_texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _walk_texts(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def search_lines(file: BinaryIO, number: int, offset: int, query: TextQuery, stop: Stop | None) -> Iterator[int]:
    """Numbers of matching rows, from row `number` at byte `offset` on."""
    while block := file.read(_BLOCK_BYTES):
        if stop is not None and stop():
            return
        if not block.endswith(b"\n"):
            block += file.readline(MAX_ROW_BYTES)
        if not query.may_match(block.lower()):
            number += block.count(b"\n")
            continue
        for line in _split_lines(block):
            if query.may_match(line.lower()):
                row = read_row(number, line, offset)
                if row is not None and query.matches_row(row):
                    yield number
            number += line.endswith(b"\n")


def _split_lines(block: bytes) -> Iterator[bytes]:
    """Lines as `readline` returns them: only a newline ends a line."""
    start = 0
    while start < len(block):
        end = block.find(b"\n", start) + 1 or len(block)
        yield block[start:end]
        start = end
