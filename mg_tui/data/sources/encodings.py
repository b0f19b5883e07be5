"""Text in other encodings than UTF-8, read as UTF-8."""

import codecs
import io
from typing import BinaryIO, Final, cast

from mg_tui.core.errors import UsageError

_CHUNK_BYTES: Final = 2**18
# Byte order marks, longest first: that of UTF-32 begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UTF8_NAMES: Final = ("utf-8", "utf-8-sig", "ascii")


def detect_encoding(head: bytes) -> str | None:
    """The encoding of a text by its first 4 bytes: a byte order mark, or JSON as UTF-16 or UTF-32; None for others."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    for name in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        if head.startswith(("{".encode(name), "[".encode(name))):
            return name
    return None


def require_encoding(name: str) -> str:
    """The usual name of an encoding.

    Raises:
        UsageError: there is no such encoding of text.
    """
    try:
        info = codecs.lookup(name)
    except (LookupError, ValueError):
        info = None
    # Codecs such as "hex" map bytes to bytes; Python marks those of text with this attribute.
    if info is None or not getattr(info, "_is_text_encoding", True):
        raise UsageError(f"unknown text encoding {name!r}", hint="e.g. latin-1, cp1252, shift_jis or utf-16")
    return info.name


def is_utf8(name: str | None) -> bool:
    """Whether text of a declared encoding can be read as it is; None stands for UTF-8."""
    return name is None or codecs.lookup(name).name in _UTF8_NAMES


def transcode(file: BinaryIO, encoding: str) -> BinaryIO:
    """A file of text in some encoding as UTF-8; a byte that is not of the encoding raises OSError when it is read."""
    return cast(BinaryIO, io.BufferedReader(_Transcoded(file, encoding), _CHUNK_BYTES))


class _Transcoded(io.RawIOBase):
    def __init__(self, file: BinaryIO, encoding: str):
        self._file = file
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")
        self._pending = b""
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        while not self._pending:
            chunk = self._file.read(_CHUNK_BYTES)
            try:
                # A lone surrogate stays one, and is reported with its row.
                self._pending = self._decoder.decode(chunk, final=not chunk).encode("utf-8", "surrogatepass")
            except UnicodeDecodeError as error:
                at = self._read + error.start
                raise OSError(None, f"it is not {self._encoding}: {error.reason} near byte {at:,}") from None
            self._read += len(chunk)
            if not chunk:
                break
        count = min(len(buffer), len(self._pending))
        buffer[:count] = self._pending[:count]
        self._pending = self._pending[count:]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
