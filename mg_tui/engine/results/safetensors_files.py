"""The safetensors files of a checkpoint, read tensor by tensor or by rows; `safetensors` itself maps whole files.

The format (https://github.com/huggingface/safetensors): eight bytes with the header's length, the header as JSON with
dtype, shape and place of each tensor, then the tensors' bytes.
"""

import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.errors import UsageError
from mg_tui.runs.result_metadata import read_json_object

if TYPE_CHECKING:
    import torch

SINGLE_FILE: Final = "model.safetensors"
INDEX_FILE: Final = "model.safetensors.index.json"
_MAX_HEADER_BYTES: Final = 100_000_000  # as in safetensors itself
# Names of dtypes in headers, and torch's.
DTYPES: Final = {
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

        tensor = torch.empty(self.shape, dtype=getattr(torch, self.dtype))
        self.read_into(tensor)
        return tensor

    def read_into(self, tensor: "torch.Tensor", first_row: int = 0) -> None:
        """Fill a contiguous tensor with as many rows, from one on."""
        view, place = bytes_of(tensor), self.start
        if first_row:
            place += (self.end - self.start) // self.shape[0] * first_row
        source = os.open(self.file, os.O_RDONLY)
        try:
            while view:
                count = os.preadv(source, [view], place)
                if not count:
                    raise OSError(f"{self.file} is shorter than its header says")
                view, place = view[count:], place + count
        finally:
            os.close(source)


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
        name, file, DTYPES[entry["dtype"]], tuple(map(int, entry["shape"])), begin + int(start), begin + int(end)
    )


def bytes_of(tensor: "torch.Tensor") -> memoryview:
    """The memory of a contiguous tensor on the CPU."""
    import torch

    if not tensor.numel():
        return memoryview(b"")
    return memoryview(tensor.detach().reshape(-1).view(torch.uint8).numpy())
