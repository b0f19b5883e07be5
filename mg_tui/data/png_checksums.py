"""The checksums of a PNG's chunks, which Pillow does not verify for pixels."""

import struct
import zlib
from pathlib import Path
from typing import Final

_SIGNATURE_BYTES: Final = 8
_BLOCK_BYTES: Final = 2**16
# Chunks that decide what is seen. Damage elsewhere (dates, comments) does not matter.
_VERIFIED: Final = frozenset((b"IHDR", b"PLTE", b"IDAT", b"tRNS"))


class DamagedPng(ValueError):
    """A chunk's checksum does not fit; the message completes a sentence whose subject is the image."""


def require_valid_png(path: Path) -> None:
    """Verify the CRC-32 of every chunk that decides what is seen (PNG specification, 5.3), in constant memory.

    Raises:
        DamagedPng: one does not fit.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        file.seek(_SIGNATURE_BYTES)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"IEND":
                return
            if kind not in _VERIFIED:
                file.seek(length + 4, 1)
                continue
            checksum, remaining = zlib.crc32(kind), length
            while remaining and (block := file.read(min(remaining, _BLOCK_BYTES))):
                checksum = zlib.crc32(block, checksum)
                remaining -= len(block)
            stored = file.read(4)
            if remaining or len(stored) < 4:
                return  # truncated, which decoding reports
            if stored != checksum.to_bytes(4, "big"):
                raise DamagedPng(f"is damaged: the checksum of its {kind.decode('latin-1')} does not fit")
