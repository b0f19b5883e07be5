"""How large the batches of an Arrow file are when decompressed, from their metadata alone.

pyarrow decompresses a batch as a whole and cannot be given a limit. Messages of the IPC format are flatbuffers
(https://arrow.apache.org/docs/format/Columnar.html); a compressed buffer begins with its uncompressed length.
"""

import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

# Indexes of fields in Message.fbs.
_MESSAGE_HEADER: Final = 2
_BATCH_BUFFERS, _BATCH_COMPRESSION = 2, 3
_DICTIONARY_DATA: Final = 1


def decompressed_sizes(messages: "pa.ipc.MessageReader") -> "list[tuple[int, int]]":
    """(bytes in the file, bytes when decompressed) of every batch.

    Raises:
        ValueError: a message is damaged.
    """
    sizes = []
    for message in messages:
        if message.type not in ("record batch", "dictionary"):
            continue
        try:
            sizes.append(_message_sizes(memoryview(message.metadata), message.body, message.type == "dictionary"))
        except (struct.error, IndexError) as error:
            raise ValueError(f"a batch is damaged: {error}") from None
    return sizes


def _message_sizes(metadata: memoryview, body: Any, is_dictionary: bool) -> tuple[int, int]:
    header = _follow(metadata, _field(metadata, _uint(metadata, 0), _MESSAGE_HEADER))
    if is_dictionary:
        header = _follow(metadata, _field(metadata, header, _DICTIONARY_DATA))
    stored = len(body) if body is not None else 0
    if _field(metadata, header, _BATCH_COMPRESSION) is None:
        return stored, stored
    buffers = _follow(metadata, _field(metadata, header, _BATCH_BUFFERS))
    data, total = memoryview(body), 0
    for index in range(_uint(metadata, buffers)):
        offset, length = struct.unpack_from("<qq", metadata, buffers + 4 + 16 * index)
        if length >= 8:
            (size,) = struct.unpack_from("<q", data, offset)
            total += length if size < 0 else size
    return stored, total


def _uint(data: memoryview, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])


def _field(data: memoryview, table: int, index: int) -> int | None:
    """The position of a field of a table; None where it has its default value."""
    vtable = table - int(struct.unpack_from("<i", data, table)[0])
    (size,) = struct.unpack_from("<H", data, vtable)
    slot = 4 + 2 * index
    if slot + 2 > size:
        return None
    (offset,) = struct.unpack_from("<H", data, vtable + slot)
    return table + offset if offset else None


def _follow(data: memoryview, field: int | None) -> int:
    if field is None:
        raise IndexError("a field is missing")
    return field + _uint(data, field)
