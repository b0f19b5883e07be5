"""Text for people: untrusted text made safe to print, close matches of a mistyped name, short lists and sizes."""

import re
from collections.abc import Callable, Iterable, Sequence
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


def first_line(error: BaseException) -> str:
    """The first line of an exception's message that is not blank; the exception's class name when it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def first_few(items: Sequence[object], count: int) -> str:
    """At most `count` items with commas, and how many more there are: "a, b and 3 more"; empty for none."""
    more = f" and {len(items) - count} more" if len(items) > count else ""
    return ", ".join(map(str, items[:count])) + more


def closest_matches(name: str, known: Iterable[str], *, count: int, cutoff: float = 0.6) -> list[str]:
    """At most `count` known names that are like `name`, the closest first: difflib's ratio is at least `cutoff`."""
    from difflib import get_close_matches

    return get_close_matches(name, list(known), n=count, cutoff=cutoff)


def closest_match(
    name: str, known: Iterable[str], *, key: Callable[[str], str] | None = None, cutoff: float = 0.6
) -> str | None:
    """The known name most like `name` (difflib's ratio, 0 to 1, at least `cutoff`), or None.

    `key` maps `name` and the known names to what is compared, e.g. without the owner of a Hub name.
    """
    compared = {key(item) if key else item: item for item in known}
    matches = closest_matches(key(name) if key else name, compared, count=1, cutoff=cutoff)
    return compared[matches[0]] if matches else None


def closest_model(name: str, known: Iterable[str]) -> str | None:
    """The known model most like `name`; the owner of a Hub name (OWNER/NAME) is ignored, as is case."""
    return closest_match(name, known, key=lambda item: item.rsplit("/", 1)[-1].lower())


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for the end of a message, or an empty text when no known name is close."""
    match = closest_match(name, known)
    return f"; did you mean {match}?" if match else ""


def format_gib(count: float) -> str:
    """A number of bytes in GiB with one decimal: "7.5 GiB"."""
    return f"{count / 2**30:.1f} GiB"
