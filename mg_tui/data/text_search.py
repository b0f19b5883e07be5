"""Find a text in the lines of a JSON Lines file.

Whole blocks are looked at first, then the lines of a block that may have it; only a line that may have it is parsed.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

from mg_tui.data.jsonl import read_row
from mg_tui.data.rows import MAX_ROW_BYTES, Row

Stop = Callable[[], bool]

_BLOCK_BYTES: Final = 2**20


class TextQuery:
    """A text to be found in rows, as it is and as JSON may write it."""

    def __init__(self, text: str):
        self._folded = text.casefold()
        spellings = {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
        # Lower case byte by byte touches ASCII alone. A text with other letters, whose capitals JSON may write in
        # several ways, is looked for by its longest run of ASCII.
        self._bytes: tuple[bytes, ...] = tuple({one.encode("utf-8", "replace").lower() for one in spellings})
        if not text.isascii():
            runs = "".join(c if c.isascii() and c not in '"\\/' and c >= " " else "\0" for c in text).split("\0")
            self._bytes = (max(runs, key=len).encode().lower(),)

    def may_match(self, lowered: bytes) -> bool:
        """Whether lines, in lower case, may have it; never false when they do."""
        return any(one in lowered for one in self._bytes)

    def matches_row(self, row: Row) -> bool:
        """Whether one of the row's texts has it, or the line itself when it is no row."""
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


def search_lines(file: BinaryIO, number: int, offset: int, wanted: TextQuery, stop: Stop | None) -> Iterator[int]:
    """Numbers of matching rows; blocks of whole lines are looked at before any line is."""
    while block := file.read(_BLOCK_BYTES):
        if stop is not None and stop():
            return
        if not block.endswith(b"\n"):
            block += file.readline(MAX_ROW_BYTES)
        if not wanted.may_match(block.lower()):
            number += block.count(b"\n")
            continue
        for line in _split_lines(block):
            if wanted.may_match(line.lower()):
                row = read_row(number, line, offset)
                if row is not None and wanted.matches_row(row):
                    yield number
            number += line.endswith(b"\n")


def _split_lines(block: bytes) -> Iterator[bytes]:
    """Lines as `readline` has them: a carriage return alone ends none."""
    at = 0
    while at < len(block):
        end = block.find(b"\n", at) + 1 or len(block)
        yield block[at:end]
        at = end
