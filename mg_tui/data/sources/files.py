"""Files as bytes, unpacked on the way, and what their first bytes say they are."""

import gzip
import io
from pathlib import Path
from typing import BinaryIO, Final, Literal, cast

from mg_tui.core.errors import DataError
from mg_tui.data.jsonl import NEVER_ROWS, UNREADABLE, unreadable
from mg_tui.data.problems import plain

Compression = Literal["gzip", "zstd"]

HEAD: Final = 4096
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_ENDINGS: Final = (".gz", ".gzip", ".zst", ".zstd")
_OTHERS: Final[tuple[tuple[bytes, str, str], ...]] = (
    *NEVER_ROWS,
    (b"BZh", "is compressed with bzip2", "unpack it, or compress it with gzip or zstd"),
    (b"\xfd7zXZ", "is compressed with xz", "unpack it, or compress it with gzip or zstd"),
    (b"SQLite format 3", "is an SQLite database", "write its rows as JSON Lines or CSV"),
    (b"\x89HDF", "is an HDF5 file", "write its rows as Parquet"),
    (b"\x93NUMPY", "is a NumPy array", "write its rows as Parquet"),
    (b"%PDF", "is a PDF", "write its rows as JSON Lines"),
)
# Protocols 2 to 5 of pickle: bytes that are a program, which is never run.
_PICKLE: Final = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))


def compression(path: Path) -> Compression | None:
    """How a file is compressed.

    Raises:
        DataError: it cannot be read.
    """
    begin = first_bytes(path, 4)
    return "gzip" if begin.startswith(_GZIP) else "zstd" if begin.startswith(_ZSTD) else None


def open_unpacked(path: Path) -> BinaryIO:
    """The bytes of a file, unpacked when it is compressed with gzip or zstd.

    Raises:
        OSError: it cannot be opened; reading may raise any of `UNREADABLE`.
    """
    match compression(path):
        case "gzip":
            return cast(BinaryIO, gzip.open(path, "rb"))
        case "zstd":
            import pyarrow as pa  # type: ignore[import-untyped]

            return cast(BinaryIO, io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"), 2**20))
    return path.open("rb")


def first_bytes(path: Path, size: int = HEAD, *, unpacked: bool = False) -> bytes:
    """The beginning of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with open_unpacked(path) if unpacked else path.open("rb") as file:
            return file.read(size)
    except (*UNREADABLE, ValueError) as error:
        raise unreadable(path, error) from None


def suffix(path: Path) -> str:
    """The ending of a file's name in lower case, without that of its compression."""
    name = path.name.lower()
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return Path(name).suffix


def refuse_others(path: Path, head: bytes) -> None:
    """Raises DataError when a file that begins so is of a kind that is never a dataset here."""
    for magic, what, hint in _OTHERS:
        if head.startswith(magic):
            raise DataError(f"the dataset {what}", where=plain(str(path)), hint=hint)
    if head.startswith(_PICKLE) or suffix(path) in (".pkl", ".pickle", ".pt", ".pth"):
        raise DataError(
            "the dataset is a pickle, and reading one runs the program that it is",
            where=plain(str(path)),
            hint="write it as Parquet or JSON Lines where you trust it",
        )
