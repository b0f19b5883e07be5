"""YAML as far as the files of launchers need it: nested mappings and lists, texts of one line and of several."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

# What YAML reads as the same text without quotes: no indicator, no number, no word with a meaning.
_PLAIN: Final = re.compile(r"[A-Za-z/~.][A-Za-z0-9_./+-]*(?: [A-Za-z0-9_./+-]+)*")
_WORDS: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n", "~", "."})


def to_yaml(values: Mapping[str, Any]) -> str:
    """A mapping as YAML; texts of several lines as blocks, so that scripts can be read."""
    return "".join(f"{line}\n" for line in _mapping_lines(values))


def _mapping_lines(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        name = _scalar(key)
        if isinstance(value, Mapping):
            yield f"{name}:"
            yield from (f"  {line}" for line in _mapping_lines(value))
        elif isinstance(value, list | tuple):
            yield f"{name}:"
            for item in value:
                yield from _item_lines(item)
        elif isinstance(value, str) and "\n" in value:
            yield f"{name}: |"
            yield from (f"  {line}" if line else "" for line in value.rstrip("\n").split("\n"))
        else:
            yield f"{name}: {_scalar(value)}"


def _item_lines(item: Any) -> Iterator[str]:
    if isinstance(item, Mapping):
        first, *rest = _mapping_lines(item)
        yield f"  - {first}"
        yield from (f"    {line}" for line in rest)
    elif isinstance(item, str) and "\n" in item:
        yield "  - |"
        yield from (f"    {line}" if line else "" for line in item.rstrip("\n").split("\n"))
    else:
        yield f"  - {_scalar(item)}"


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return json.dumps(text)  # a quoted text of YAML is one of JSON
