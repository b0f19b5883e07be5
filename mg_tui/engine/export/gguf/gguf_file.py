"""Reads the head of a GGUF file: what it says of the model, and the names, types and places of its tensors.

The format is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from mg_tui.core.errors import UsageError

CHAT_TEMPLATE: Final = "tokenizer.chat_template"
ARCHITECTURE: Final = "general.architecture"
PROJECTOR_ARCHITECTURE: Final = "clip"
_MAX_TEXT: Final = 64 << 20
_MAX_ITEMS: Final = 1 << 26
_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT: Final = 8
_ARRAY: Final = 9
# Numbers of ggml's types that people meet.
_TYPES: Final = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    6: "Q5_0",
    7: "Q5_1",
    8: "Q8_0",
    10: "Q2_K",
    11: "Q3_K",
    12: "Q4_K",
    13: "Q5_K",
    14: "Q6_K",
    20: "IQ4_NL",
    23: "IQ4_XS",
    30: "BF16",
}


@dataclass(frozen=True, slots=True)
class GgufHead:
    """What a GGUF file says: `values` by key (of arrays only the length), and the type of each tensor by name."""

    values: Mapping[str, Any]
    tensors: Mapping[str, str]

    @property
    def is_projector(self) -> bool:
        """Whether the file holds a vision tower with its projector, for a text model in another file."""
        return self.values.get(ARCHITECTURE) == PROJECTOR_ARCHITECTURE

    def types(self) -> dict[str, int]:
        """How many tensors there are of each type, the most frequent first."""
        return dict(Counter(self.tensors.values()).most_common())


def read_gguf(file: Path) -> GgufHead:
    """Read the head of a file.

    Raises:
        UsageError: it cannot be read, is no GGUF, or is damaged or cut off.
    """
    try:
        with file.open("rb") as stream:
            return _read(stream, file.stat().st_size)
    except OSError as error:
        raise UsageError("the GGUF file cannot be read", where=str(file), why=error.strerror or str(error)) from None
    except (ValueError, struct.error, KeyError, MemoryError) as error:
        raise UsageError("the GGUF file is damaged", where=str(file), why=str(error) or "it ends too early") from None


def _read(stream: IO[bytes], size: int) -> GgufHead:
    if stream.read(4) != b"GGUF":
        raise ValueError("it does not begin as a GGUF file does")
    (version,) = struct.unpack("<I", _take(stream, 4))
    if version not in (2, 3):
        raise ValueError(f"it has version {version} of the format; 2 and 3 are read")
    tensors, count = struct.unpack("<QQ", _take(stream, 16))
    if max(tensors, count) > _MAX_ITEMS:
        raise ValueError("it claims to have an impossible number of tensors or values")
    values = {}
    for _ in range(count):
        key = _text(stream)
        (kind,) = struct.unpack("<I", _take(stream, 4))
        values[key] = _value(stream, kind)
    types, last = {}, 0
    for _ in range(tensors):
        name = _text(stream)
        (dimensions,) = struct.unpack("<I", _take(stream, 4))
        if dimensions > 8:
            raise ValueError(f"the tensor {name[:80]!r} has {dimensions} dimensions")
        _take(stream, 8 * dimensions)
        kind, place = struct.unpack("<IQ", _take(stream, 12))
        types[name], last = _TYPES.get(kind, f"type {kind}"), max(last, place)
    if tensors and stream.tell() + last >= size:
        raise ValueError("it is shorter than its head says")
    return GgufHead(values, types)


def _take(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise ValueError("it ends too early")
    return data


def _text(stream: IO[bytes]) -> str:
    (length,) = struct.unpack("<Q", _take(stream, 8))
    if length > _MAX_TEXT:
        raise ValueError("it has a text of impossible length")
    return _take(stream, length).decode("utf-8", "replace")


def _value(stream: IO[bytes], kind: int) -> Any:
    if kind == _TEXT:
        return _text(stream)
    if kind == _ARRAY:
        items, length = struct.unpack("<IQ", _take(stream, 12))
        if length > _MAX_ITEMS:
            raise ValueError("it has an array of impossible length")
        if items in _SCALARS:
            stream.seek(length * struct.calcsize(f"<{_SCALARS[items]}"), 1)
        else:
            for _ in range(length):
                _value(stream, items)
        return int(length)
    if kind not in _SCALARS:
        raise ValueError(f"it has a value of the unknown type {kind}")
    code = f"<{_SCALARS[kind]}"
    return struct.unpack(code, _take(stream, struct.calcsize(code)))[0]
