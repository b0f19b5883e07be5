"""Compressed files, by their first bytes; of a zip archive, its only data file."""

import io
import lzma
import zipfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, Literal, cast

from mg_tui.core.errors import DataError
from mg_tui.data.image_types import DATASET_IMAGE_EXTENSIONS
from mg_tui.data.row_problems import safe_line

Compression = Literal["gzip", "zstd", "xz", "bzip2", "zip"]

_MAGIC: Final[tuple[tuple[bytes, Compression], ...]] = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"PK\x03\x04", "zip"),
)
_DATA_EXTENSIONS: Final = (".jsonl", ".ndjson", ".jsonlines", ".json", ".csv", ".tsv", ".tab", ".txt")
_MAX_MEMBERS: Final = 10_000
_CHUNK_BYTES: Final = 2**18
# Decoding `xz -9` takes 65 MiB; a header may claim 4 GiB.
_XZ_MEMORY: Final = 128 * 2**20


def compression_of(head: bytes) -> Compression | None:
    """The compression of a file with these first 6 bytes; None if it has none."""
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)


def open_xz(path: Path) -> BinaryIO:
    """A file compressed with xz, opened; its dictionary takes 128 MiB at most."""
    return cast(BinaryIO, io.BufferedReader(_XzReader(path), _CHUNK_BYTES))


def zip_member(path: Path) -> str:
    """The name of the only data file in a zip archive.

    Raises:
        DataError: there is none, or there are several, or images beside it.
    """
    where = safe_line(str(path))
    try:
        with zipfile.ZipFile(path) as archive:
            names = [item.filename for item in archive.infolist()[:_MAX_MEMBERS] if not item.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError("the zip archive cannot be read", where=where, why=safe_line(str(error), limit=200)) from None
    names = [name for name in names if not name.startswith("__MACOSX/") and PurePosixPath(name).name[:1] != "."]
    data = [name for name in names if PurePosixPath(name).suffix.lower() in _DATA_EXTENSIONS]
    images = sum(PurePosixPath(name).suffix.lower() in DATASET_IMAGE_EXTENSIONS for name in names)
    if images:
        raise DataError(f"the zip archive has {images:,} images", where=where, hint="unpack it and give the folder")
    if len(data) != 1:
        listed = ", ".join(safe_line(name, limit=60) for name in (data or names)[:5]) or "nothing"
        raise DataError(
            "the zip archive does not have exactly one data file", where=where, why=f"it has {listed}", hint="unpack it"
        )
    return data[0]


def open_zip_member(path: Path) -> BinaryIO:
    """The only data file of a zip archive, opened.

    Raises:
        DataError: see `zip_member`; or it is encrypted.
    """
    name = zip_member(path)
    archive = zipfile.ZipFile(path)
    try:
        return cast(BinaryIO, archive.open(name))
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or compressed in an unknown way
        where, why = safe_line(str(path)), safe_line(str(error), limit=200)
        raise DataError("the zip archive cannot be read", where=where, why=why, hint="unpack it") from None
    finally:
        archive.close()  # the file is closed with the opened member


class _XzReader(io.RawIOBase):
    def __init__(self, path: Path):
        self._file = path.open("rb")
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        self._done = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        while not self._done:
            if self._decoder.eof:
                rest = self._decoder.unused_data.lstrip(b"\0") or self._file.read(_CHUNK_BYTES).lstrip(b"\0")
                if not rest:
                    self._done = True
                    break
                # Another stream follows, as in files that were joined.
                self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
                data = self._decoder.decompress(rest, len(buffer))
            elif self._decoder.needs_input:
                chunk = self._file.read(_CHUNK_BYTES)
                if not chunk:
                    raise EOFError("the compressed file ends before its end marker")
                data = self._decoder.decompress(chunk, len(buffer))
            else:
                data = self._decoder.decompress(b"", len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
        return 0

    def close(self) -> None:
        self._file.close()
        super().close()
