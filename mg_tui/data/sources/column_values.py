"""What a value of a row holds, whatever column it is in: nothing, texts, a number, an image."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, Final

from mg_tui.data.image_types import DATASET_IMAGE_EXTENSIONS

_EMPTY_TEXTS: Final = frozenset({"", "[]", "{}", "null"})


def leaf_texts(value: Any) -> Iterator[str]:
    """Every text and number inside a value, as text; iterative, since nesting may be deep."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            stack += item.values()
        elif isinstance(item, list):
            stack += item
        elif is_number(item):
            yield str(item)


def as_text(value: Any) -> str:
    """A text; the empty one for any other value."""
    return value if isinstance(value, str) else ""


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def looks_like_image(value: Any) -> bool:
    """Whether a value holds an image or names one: bytes, a data URI, or a path with an image's extension."""
    if isinstance(value, list):
        return bool(value) and looks_like_image(value[0])
    if isinstance(value, Mapping):
        return isinstance(value.get("bytes"), bytes) or any(looks_like_image(value.get(k)) for k in ("path", "url"))
    if isinstance(value, str):
        extension = PurePath(value[-64:].partition("?")[0]).suffix.lower()
        return value.startswith(("data:image/", '["')) or extension in DATASET_IMAGE_EXTENSIONS
    return isinstance(value, bytes)


def image_list(value: Any) -> list[Any]:
    """The images of a column: those of a list, also one stored as JSON text, or the one image."""
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return [value]
    return value if isinstance(value, list) else [value]


def has_image_parts(turns: Any) -> bool:
    """Whether a list of turns has images as parts of their content."""
    items = turns if isinstance(turns, list) else ()
    parts = (item.get("content") for item in items if isinstance(item, Mapping))
    return any(
        isinstance(part, Mapping) and "image" in str(part.get("type")) for content in parts
        if isinstance(content, list) for part in content
    )  # fmt: skip


def is_empty(value: Any) -> bool:
    """Whether a value holds nothing: null, blank text, NaN, or a list or object of such values."""
    if value is None:
        return True
    if isinstance(value, str):
        return len(value) < 64 and value.strip() in _EMPTY_TEXTS if not value.isspace() else True
    if isinstance(value, float):
        return math.isnan(value)
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Mapping):
            stack += item.values()
        elif isinstance(item, list):
            stack += item
        elif item is not None and item != "":
            return False
    return True


def parse_text_list(value: Any) -> list[str] | None:
    """The texts of a JSON list that a table stores as text; None for any other value."""
    if not isinstance(value, str) or not value.startswith("[") or not value.rstrip().endswith("]"):
        return None
    try:
        items = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return items if items and all(isinstance(item, str) for item in items) else None
