"""Opens files, decompressing them on the fly, and detects their type by their first bytes."""

import gzip
import io
import stat
from pathlib import Path
from typing import BinaryIO, Final, cast

from mg_tui.core.errors import DataError
from mg_tui.data.jsonl import READ_ERRORS, UNSUPPORTED_FILES, is_json_array, unreadable_error
from mg_tui.data.row_problems import safe_line
from mg_tui.data.sources.base import FormatEvidence
from mg_tui.data.sources.compressed import Compression, compression_of, open_xz, open_zip_member, zip_member
from mg_tui.data.sources.encodings import detect_encoding, is_utf8, transcode

HEAD_BYTES: Final = 4096
COLUMNAR_EXTENSIONS: Final = {".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow"}
CSV_EXTENSIONS: Final = (".csv", ".tsv", ".tab")
_COMPRESSION_EXTENSIONS: Final = (".gz", ".gzip", ".zst", ".zstd", ".xz", ".bz2", ".zip")
_UNSUPPORTED_FILES: Final[tuple[tuple[bytes, str, str], ...]] = (
    *UNSUPPORTED_FILES,
    (b"7z\xbc\xaf", "is a 7z archive", "unpack it"),
    (b"Rar!", "is a RAR archive", "unpack it"),
    (b"SQLite format 3", "is an SQLite database", "convert it to JSON Lines or CSV"),
    (b"\x89HDF", "is an HDF5 file", "write its rows as Parquet"),
    (b"\x93NUMPY", "is a NumPy array", "write its rows as Parquet"),
    (b"%PDF", "is a PDF", "write its rows as JSON Lines"),
)
# Protocols 2 to 5 of pickle, which is never loaded: unpickling executes code.
_PICKLE: Final = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))


def detect_compression(path: Path) -> Compression | None:
    """The compression of a file, None if it has none.

    Raises:
        DataError: it cannot be read.
    """
    return compression_of(read_head(path, 6))


def open_decompressed(path: Path) -> BinaryIO:
    """A file opened for reading, decompressed if it is compressed; of a zip archive its only data file.

    Raises:
        DataError: a zip archive does not hold exactly one data file.
        OSError: it cannot be opened; reading may raise any of `READ_ERRORS`.
    """
    match detect_compression(path):
        case "gzip":
            return cast(BinaryIO, gzip.open(path, "rb"))
        case "bzip2":
            import bz2

            return cast(BinaryIO, bz2.open(path, "rb"))
        case "xz":
            return open_xz(path)
        case "zip":
            return open_zip_member(path)
        case "zstd":
            import pyarrow as pa  # type: ignore[import-untyped]

            return cast(BinaryIO, io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"), 2**20))
    return path.open("rb")


def open_text(path: Path, encoding: str | None = None) -> BinaryIO:
    """A file of text opened for reading as UTF-8, decompressed as by `open_decompressed`.

    Args:
        encoding: of the text; None for UTF-8, or what its first bytes say.
    """
    encoding = encoding or detect_encoding(read_head(path, 8, decompressed=True))
    file = open_decompressed(path)
    return transcode(file, encoding) if encoding else file


def is_plain_text(path: Path, encoding: str | None = None) -> bool:
    """Whether a file is UTF-8 and not compressed, so that offsets of its rows are offsets in the file."""
    head = read_head(path, 8)
    return compression_of(head) is None and is_utf8(encoding) and detect_encoding(head) is None


def read_head(
    path: Path, size: int = HEAD_BYTES, *, decompressed: bool = False, text: bool = False, encoding: str | None = None
) -> bytes:
    """The first bytes of a file; `text` decompresses it and decodes its text, see `open_text`.

    Raises:
        DataError: it cannot be read.
    """
    require_regular_file(path)
    try:
        if text:
            with open_text(path, encoding) as file:
                return file.read(size)
        with open_decompressed(path) if decompressed else path.open("rb") as file:
            return file.read(size)
    except (*READ_ERRORS, ValueError) as error:
        raise unreadable_error(path, error) from None


def require_regular_file(path: Path) -> None:
    """Raises DataError when a path is a pipe or a device, which may never end, or cannot be accessed."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise unreadable_error(path, error) from None
    if not stat.S_ISREG(mode):
        raise DataError("not a regular file", where=safe_line(str(path)))


def read_small_file(path: Path, limit: int = 16 * 2**20) -> str:
    """The text of a file that describes data.

    Raises:
        OSError: it cannot be read, is a pipe or a device, or is larger than `limit` bytes.
        UnicodeDecodeError: it is not UTF-8.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
        raise OSError(None, "not a regular file" if not stat.S_ISREG(status.st_mode) else "too large")
    return path.read_text(encoding="utf-8")


def format_extension(path: Path) -> str:
    """The extension of a file in lower case, without that of its compression: ".jsonl" of "a.jsonl.gz"."""
    name = path.name.lower()
    for extension in _COMPRESSION_EXTENSIONS:
        name = name.removesuffix(extension)
    return Path(name).suffix


def require_supported_file(path: Path, head: bytes) -> None:
    """Raises DataError when a file is of an unsupported type, by its first bytes `head` or its extension."""
    for magic, what, hint in _UNSUPPORTED_FILES:
        if head.startswith(magic):
            raise DataError(f"the dataset {what}", where=safe_line(str(path)), hint=hint)
    if head.startswith(_PICKLE) or format_extension(path) in (".pkl", ".pickle", ".pt", ".pth"):
        raise DataError(
            "the dataset is a pickle; unpickling executes arbitrary code",
            where=safe_line(str(path)),
            hint="convert it to Parquet or JSON Lines in a trusted environment",
        )


def detect_file_format(path: Path, head: bytes) -> tuple[str, FormatEvidence]:
    """The format of a file by its first bytes (decompressed), else by its extension."""
    compression = f", compressed with {kind}" if (kind := detect_compression(path)) else ""
    extension = format_extension(Path(zip_member(path)) if kind == "zip" else path)
    if head.startswith(b"PAR1"):
        return "parquet", FormatEvidence("sure", "the file has the Parquet signature")
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return "arrow", FormatEvidence("sure", "the file has the Arrow signature")
    if head[257:262] == b"ustar":
        return "webdataset", FormatEvidence("sure", "the file is a tar archive")
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if is_json_array(head):
        return "json", FormatEvidence("sure", f"the file starts with `[`{compression}")
    if begin[:1] == b"{":
        agrees = extension in (".jsonl", ".ndjson", ".json", ".jsonlines")
        return "jsonl", FormatEvidence("sure" if agrees else "likely", f"the file starts with `{{`{compression}")
    if extension in CSV_EXTENSIONS:
        return "csv", FormatEvidence("sure", f"the file extension is {extension}{compression}")
    if extension in (".jsonl", ".ndjson", ".json", ".jsonlines"):
        return "jsonl", FormatEvidence("likely", f"the file extension is {extension}{compression}")
    first = begin.split(b"\n", 1)[0]
    if extension in (".txt", "") and (b"," in first or b"\t" in first) and b"\0" not in head:
        return "csv", FormatEvidence("guess", f"the first line looks like a CSV header{compression}")
    return "jsonl", FormatEvidence("guess", f"the format could not be detected{compression}")
