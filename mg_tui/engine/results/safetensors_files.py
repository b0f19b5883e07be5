"""The safetensors files of a checkpoint, read and written tensor by tensor: one tensor in memory at a time.

The format (https://github.com/huggingface/safetensors): eight bytes with the header's length, the header as JSON with
dtype, shape and place of each tensor, then the tensors' bytes. `safetensors` itself maps files into memory and writes
only what is in memory as a whole.
"""

import json
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from mg_tui.core.errors import UsageError
from mg_tui.core.files import is_disk_full
from mg_tui.runs.result_metadata import read_json_object

if TYPE_CHECKING:
    import torch

SINGLE_FILE: Final = "model.safetensors"
INDEX_FILE: Final = "model.safetensors.index.json"
_MAX_HEADER_BYTES: Final = 100_000_000  # as in safetensors itself
_COPY_BYTES: Final = 16 << 20
# Names of dtypes in headers, and torch's.
_DTYPES: Final = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
_NAMES: Final = {name: code for code, name in _DTYPES.items()}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file: `start` and `end` are bytes of the file; `dtype` is torch's name."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def is_floating(self) -> bool:
        """Whether it holds floating point numbers."""
        return "float" in self.dtype

    def read(self) -> "torch.Tensor":
        """The tensor, on the CPU."""
        import torch

        buffer = bytearray(self.end - self.start)
        with self.file.open("rb", buffering=0) as stream:
            stream.seek(self.start)
            _read_fully(stream, memoryview(buffer))
        dtype = getattr(torch, self.dtype)
        if not buffer:
            return torch.empty(self.shape, dtype=dtype)
        return torch.frombuffer(buffer, dtype=dtype).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class NewTensor:
    """A tensor to write: copied from a file byte for byte, or made when its place in the file is reached."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    source: "StoredTensor | Callable[[], torch.Tensor]"

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        import torch

        count = 1
        for size in self.shape:
            count *= size
        return count * int(getattr(torch, self.dtype).itemsize)


def has_weight_files(folder: Path) -> bool:
    """Whether a folder has a checkpoint's weights as safetensors."""
    return any((folder / name).is_file() for name in (SINGLE_FILE, INDEX_FILE))


def list_weight_files(folder: Path) -> list[Path]:
    """The files of a checkpoint in the order of their names: those of its index, or the only one.

    Raises:
        UsageError: it has neither.
    """
    if (folder / INDEX_FILE).is_file():
        names = read_json_object(folder / INDEX_FILE).get("weight_map") or {}
        return [folder / name for name in sorted(set(map(str, names.values())))]
    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    raise UsageError(
        "the base model's weights are missing", where=str(folder), why=f"it has no {SINGLE_FILE} and no {INDEX_FILE}"
    )


def read_tensors(file: Path) -> list[StoredTensor]:
    """The tensors of a file in the order of their bytes; of the file only the header is read.

    Raises:
        UsageError: the file is damaged or cannot be read.
    """
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > _MAX_HEADER_BYTES:
                raise ValueError(f"its header would have {length:,} bytes")
            header: dict[str, Any] = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        found = [_stored(name, file, entry, 8 + length) for name, entry in header.items()]
        if found and max(tensor.end for tensor in found) > file.stat().st_size:
            raise ValueError("it is shorter than its header says")
    except OSError as error:
        raise UsageError("the weights cannot be read", where=str(file), why=error.strerror or str(error)) from None
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise UsageError(
            "the weights are damaged", where=str(file), why=str(error), hint="copy the folder again"
        ) from None
    return sorted(found, key=lambda tensor: (tensor.start, tensor.name))


def _stored(name: str, file: Path, entry: dict[str, Any], begin: int) -> StoredTensor:
    start, end = entry["data_offsets"]
    return StoredTensor(
        name, file, _DTYPES[entry["dtype"]], tuple(map(int, entry["shape"])), begin + int(start), begin + int(end)
    )


def write_tensors(path: Path, tensors: Sequence[NewTensor], wrote: Callable[[int], None]) -> None:
    """Write a safetensors file; tensors are made one after another.

    Args:
        path: the file; one that exists is replaced.
        tensors: in the order of their bytes.
        wrote: is told the number of bytes after each tensor.

    Raises:
        OSError: it cannot be written.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for tensor in tensors:
        size = tensor.nbytes
        header[tensor.name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [place, place + size],
        }
        place += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb", buffering=0) as stream:
        _write_fully(stream, struct.pack("<Q", len(text)) + text)
        for tensor in tensors:
            if isinstance(tensor.source, StoredTensor):
                _copy_bytes(tensor.source, stream)
            else:
                _write_fully(stream, _bytes_of(tensor.source(), tensor))
            wrote(tensor.nbytes)


def _bytes_of(made: "torch.Tensor", tensor: NewTensor) -> memoryview:
    import torch

    assert tuple(made.shape) == tensor.shape and str(made.dtype) == f"torch.{tensor.dtype}", tensor.name
    if not made.numel():
        return memoryview(b"")
    return memoryview(made.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def _copy_bytes(tensor: StoredTensor, stream: IO[bytes]) -> None:
    """Copy in the kernel where the file systems can, else by blocks."""
    left, place = tensor.end - tensor.start, tensor.start
    with tensor.file.open("rb", buffering=0) as source:
        try:
            while left and (count := os.copy_file_range(source.fileno(), stream.fileno(), left, place)):
                left, place = left - count, place + count
        except (OSError, AttributeError) as error:
            if is_disk_full(error):
                raise
        source.seek(place)
        while left:
            block = source.read(min(left, _COPY_BYTES))
            if not block:
                raise OSError(f"{tensor.file} ended while it was copied")
            _write_fully(stream, block)
            left -= len(block)


def write_index(path: Path, files: Iterable[tuple[str, Sequence[NewTensor]]]) -> None:
    """Write the index of a checkpoint of several files: names of files with their tensors."""
    weight_map: dict[str, str] = {}
    total = 0
    for name, tensors in files:
        for tensor in tensors:
            weight_map[tensor.name] = name
            total += tensor.nbytes
    record = {"metadata": {"total_size": total}, "weight_map": weight_map}
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _read_fully(stream: Any, view: memoryview) -> None:
    while view:
        count = stream.readinto(view)
        if not count:
            raise OSError(f"{stream.name} is shorter than its header says")
        view = view[count:]


def _write_fully(stream: Any, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]
