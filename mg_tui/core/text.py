"""Text from outside (datasets, models, logs, file names) made safe to print: it can neither mark up nor escape."""

import re
from typing import Final

# C0 and C1 controls but tab and newline, DEL, the marks that reorder or hide text (bidi overrides, zero width, tags),
# and halves of surrogate pairs, which no terminal can be sent.
_UNSAFE_CHARACTERS: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(text: str, *, limit: int | None = None) -> str:
    """`text` with every control and reordering character replaced by a visible mark, cut to `limit` characters.

    The result can be written to a terminal: no escape sequence survives. Faces that interpret markup must in addition
    pass it as plain text (`rich.text.Text`, `markup=False`).
    """
    if limit is not None and len(text) > limit:
        text = text[: max(limit - 1, 0)] + "…"
    return _UNSAFE_CHARACTERS.sub("\N{REPLACEMENT CHARACTER}", text)


def pluralize(count: int, noun: str) -> str:
    """`1 row`, `1,200 rows`: a count with its noun, for nouns with a regular plural."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def one_line(text: str, *, limit: int | None = None) -> str:
    """`printable` text on one line: newlines and tabs become spaces, runs of blanks become one."""
    return printable(" ".join(text.split()), limit=limit)
