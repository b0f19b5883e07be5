"""Safetensors files written in pieces by several threads: a few blocks are in memory, or one tensor that is made whole.

A block is read, changed and written while it is in the processor's cache, and what is written goes on to the disk while
the next blocks are made.
"""

import json
import math
import os
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.files import is_disk_full
from mg_tui.engine.results.safetensors_files import DTYPES, StoredTensor, bytes_of

if TYPE_CHECKING:
    import torch

_NAMES: Final = {name: code for code, name in DTYPES.items()}
_COPY_BYTES: Final = 16 << 20
# As float32 two megabytes: smaller ones are slower for what Python does for each, larger ones leave the cache.
_BLOCK_NUMBERS: Final = 1 << 19
# With fewer rows MKL multiplies matrices in another order, so that the last bit differs.
_LEAST_ROWS: Final = 32
_MAX_THREADS: Final = 8  # file systems take one write to a file at a time
_SECONDS_BETWEEN_SYNCS: Final = 0.1


class Buffers(threading.local):
    """A thread's memory, used again for each block: fresh memory costs as much time as the work in it."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, torch.dtype], torch.Tensor] = {}

    def take(self, use: str, shape: tuple[int, ...], dtype: "torch.dtype") -> "torch.Tensor":
        """A tensor with any content; the next one for the same use is in the same place."""
        import torch

        count = math.prod(shape)
        kept = self._kept.get((use, dtype))
        if kept is None or kept.numel() < count:
            kept = self._kept[use, dtype] = torch.empty(count, dtype=dtype)
        return kept[:count].view(shape)


@dataclass(frozen=True, slots=True)
class RowBlocks:
    """A matrix that several threads make by blocks of rows; `make` takes the first row, the one after the last, and
    buffers that the block may be in."""

    make: "Callable[[int, int, Buffers], torch.Tensor]"


@dataclass(frozen=True, slots=True)
class NewTensor:
    """A tensor to write: copied from a file byte for byte, made by rows, or made whole when its place is reached."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    source: "StoredTensor | RowBlocks | Callable[[], torch.Tensor]"

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        import torch

        return math.prod(self.shape) * int(getattr(torch, self.dtype).itemsize)


class TensorWriter:
    """Writes safetensors files by as many threads as torch uses, each of which computes alone."""

    def __init__(self) -> None:
        import torch

        self._count, self._buffers = torch.get_num_threads(), Buffers()
        self._threads = min(self._count, _MAX_THREADS)
        self._pool = ThreadPoolExecutor(self._threads, initializer=torch.set_num_threads, initargs=(1,))
        self._lock = threading.Lock()

    def __enter__(self) -> "TensorWriter":
        return self

    def __exit__(self, *_error: object) -> None:
        import torch

        self._pool.shutdown()
        torch.set_num_threads(self._count)  # threads that begin later take the number that was set last

    def write(self, path: Path, tensors: Sequence[NewTensor]) -> None:
        """Write a file; one that exists is replaced.

        Args:
            path: the file.
            tensors: in the order of their bytes.

        Raises:
            OSError: it cannot be written.
        """
        header = _header(tensors)
        with path.open("wb", buffering=0) as stream, _syncing(stream.fileno()):
            target, place = stream.fileno(), len(header)
            _write_at(target, memoryview(header), 0)
            placed = []
            for tensor in tensors:
                placed.append((place, tensor))
                place += tensor.nbytes
            pieces = chain.from_iterable(self._pieces(tensor, tensor.source, place) for place, tensor in placed)
            stop = threading.Event()
            working = [self._pool.submit(self._work, pieces, target, stop) for _ in range(self._threads)]
            try:
                for place, tensor in placed:
                    if not isinstance(tensor.source, StoredTensor | RowBlocks):
                        _write_whole(tensor, tensor.source, place, target)
                for each in working:
                    each.result()
            finally:
                stop.set()
                wait(working)  # none may write when the file is closed

    def _work(self, pieces: Iterator[Callable[[int], None]], target: int, stop: threading.Event) -> None:
        """Do what nobody has begun; an object for each piece in a queue would cost as much time as planning."""
        try:
            while not stop.is_set():
                with self._lock:
                    piece = next(pieces, None)
                if piece is None:
                    return
                piece(target)
        except BaseException:
            stop.set()
            raise

    def _pieces(self, tensor: NewTensor, source: object, place: int) -> Iterator[Callable[[int], None]]:
        if isinstance(source, StoredTensor):
            for start in range(0, tensor.nbytes, _COPY_BYTES):
                count = min(_COPY_BYTES, tensor.nbytes - start)
                yield partial(_copy_bytes, source.file, source.start + start, count, place + start)
        elif isinstance(source, RowBlocks):
            rows, columns = tensor.shape
            blocks = max(1, rows // max(_LEAST_ROWS, _BLOCK_NUMBERS // columns))
            edges = [rows * block // blocks for block in range(blocks + 1)]
            for first, end in pairwise(edges):
                yield partial(self._write_rows, source, first, end, place + tensor.nbytes // rows * first)

    def _write_rows(self, source: RowBlocks, first: int, end: int, place: int, target: int) -> None:
        _write_at(target, bytes_of(source.make(first, end, self._buffers)), place)


def _header(tensors: Sequence[NewTensor]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    size = 0
    for tensor in tensors:
        offsets = [size, size + tensor.nbytes]
        header[tensor.name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        size = offsets[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


@contextmanager
def _syncing(target: int) -> Iterator[None]:
    """Bring what is written to the disk meanwhile; whoever wants all of it there syncs the file afterwards."""
    ended = threading.Event()

    def sync() -> None:
        while not ended.wait(_SECONDS_BETWEEN_SYNCS):
            os.fsync(target)

    with ThreadPoolExecutor(1) as pool:
        synced = pool.submit(sync)
        try:
            yield
        finally:
            ended.set()
        synced.result()  # the system reports a failed write once: here


def _write_whole(tensor: NewTensor, make: "Callable[[], torch.Tensor]", place: int, target: int) -> None:
    made = make()
    assert tuple(made.shape) == tensor.shape and str(made.dtype) == f"torch.{tensor.dtype}", tensor.name
    _write_at(target, bytes_of(made.cpu().contiguous()), place)


def _copy_bytes(file: Path, start: int, count: int, place: int, target: int) -> None:
    """Copy in the kernel where the file systems can, else by way of memory."""
    with file.open("rb", buffering=0) as stream:
        source = stream.fileno()
        try:
            while count and (copied := os.copy_file_range(source, target, count, start, place)):
                start, count, place = start + copied, count - copied, place + copied
        except (OSError, AttributeError) as error:
            if is_disk_full(error):
                raise
        while count:
            block = os.pread(source, count, start)
            if not block:
                raise OSError(f"{file} ended while it was copied")
            _write_at(target, memoryview(block), place)
            start, count, place = start + len(block), count - len(block), place + len(block)


def _write_at(target: int, view: memoryview, place: int) -> None:
    while view:
        count = os.pwrite(target, view, place)
        view, place = view[count:], place + count


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
