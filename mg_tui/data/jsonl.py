"""JSON Lines, read one line at a time: a line that cannot be parsed is a numbered problem and reading continues.

Rows are numbered as an editor numbers lines. Blank lines are not rows. Only a newline byte ends a line, not the other
line separators of Unicode; a carriage return before it and a byte order mark are dropped.
"""

import json
import lzma
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from mg_tui.core.errors import DataError
from mg_tui.data.row_problems import RowProblem, quote_text, safe_line
from mg_tui.data.rows import MAX_ROW_BYTES, Row

__all__ = ["MAX_ROW_BYTES", "Row", "describe_type", "raw_text", "read_raw", "read_row", "read_rows"]

_ENCODING_HINT: Final = "name its encoding with --dataset-encoding, e.g. cp1252, or save it as UTF-8"
_OVERLONG_PREFIX_BYTES: Final = 4096
_BOM: Final = b"\xef\xbb\xbf"
_WHITESPACE: Final = b" \t\r\n\v\f"
# Exceptions of reading a file, compressed or not.
READ_ERRORS: Final = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)

# First bytes of files that are never a dataset: (magic, description, hint).
UNSUPPORTED_FILES: Final[tuple[tuple[bytes, str, str], ...]] = (
    (b"version https://git-lfs", "is a Git LFS pointer; the data was not downloaded", "run git lfs pull"),
)
_NOT_JSON_LINES: Final[tuple[tuple[bytes, str, str], ...]] = (
    (b"\x1f\x8b", "is compressed with gzip", "unpack it with gunzip"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd", "unpack it with unzstd"),
    (b"PAR1", "is a Parquet file, not JSON Lines", "convert it to JSON Lines, one object per line"),
    (b"PK\x03\x04", "is a zip archive", "unpack it"),
    (b"\xff\xfe", "is UTF-16 text", "save it as UTF-8"),
    (b"\xfe\xff", "is UTF-16 text", "save it as UTF-8"),
    (b"ARROW1", "is an Arrow file, not JSON Lines", "convert it to JSON Lines, one object per line"),
    *UNSUPPORTED_FILES,
)


def read_rows(
    path: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
    opener: Callable[[Path], BinaryIO] | None = None,
) -> Iterator[Row]:
    """Every row of a JSON Lines file in order, in the memory of one row.

    Args:
        progress: called every 1,024 lines with (bytes read, bytes of the file).
        opener: opens the file for reading bytes, e.g. decompressing it.

    Raises:
        DataError: the file is missing, not a regular file, unreadable, of another type, or has no rows.
    """
    size = require_data_file(path)
    any_row = False
    try:
        if opener is None:
            with path.open("rb") as file:
                _require_json_lines(path, file.read(4096))
        with opener(path) if opener is not None else path.open("rb") as file:
            number = offset = 0
            while line := file.readline(MAX_ROW_BYTES):
                number += 1
                length = len(line)
                if len(line) >= MAX_ROW_BYTES and not line.endswith(b"\n"):
                    length += _skip_rest(file)
                row = read_row(number, line, offset, length)
                if row is not None:
                    yield row
                    any_row = True
                offset += length
                if progress is not None and (number % 1024 == 0 or offset == size):
                    progress(offset, size)
    except READ_ERRORS as error:
        raise unreadable_error(path, error) from None
    if not any_row:
        raise DataError("the dataset is empty: only blank lines", where=safe_line(str(path)))


def read_row(number: int, line: bytes, offset: int, length: int | None = None) -> Row | None:
    """The row of a line; None for a blank one.

    Args:
        number: of the line, from 1.
        line: its bytes, line end included; at most `MAX_ROW_BYTES` of them.
        offset: of its first byte in the file.
        length: its bytes in the file; the length of `line` when None.
    """
    length = len(line) if length is None else length
    if length >= MAX_ROW_BYTES and (length > len(line) or not line.endswith(b"\n")):
        return Row(number, None, overlong_problem(number, line, length), offset, length)
    text = line.removeprefix(_BOM).strip(_WHITESPACE)
    return Row(number, *parse_row(number, text, line), offset, length) if text else None


def read_raw(path: Path, offset: int, length: int) -> str:
    """Read a line again, without its line end, as `RowProblem.raw` stores it."""
    with path.open("rb") as file:
        file.seek(offset)
        return raw_text(file.read(min(length, MAX_ROW_BYTES)))


def raw_text(line: bytes) -> str:
    """Bytes of a line as text, without its line end; bytes that are not UTF-8 become surrogate escapes."""
    return line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")


def require_data_file(path: Path) -> int:
    """Size in bytes of a file that can be a dataset.

    Raises:
        DataError: it is missing, not a regular file, empty, or cannot be accessed.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            "the dataset does not exist", where=safe_line(str(path)), hint=_nearby_datasets_hint(path)
        ) from None
    except (OSError, ValueError) as error:
        raise unreadable_error(path, error) from None
    if stat.S_ISDIR(status.st_mode):
        raise DataError(
            "the dataset is a folder, not a file",
            where=safe_line(str(path)),
            hint=_nearby_datasets_hint(path / "x") or "give a JSON Lines file",
        )
    if not stat.S_ISREG(status.st_mode):
        raise DataError(
            "the dataset is a pipe or a device; a regular file is required because it is read more than once",
            where=safe_line(str(path)),
        )
    if status.st_size == 0:
        raise DataError("the dataset is empty (0 bytes)", where=safe_line(str(path)))
    return status.st_size


def _nearby_datasets_hint(path: Path) -> str | None:
    try:
        names = sorted(entry.name for entry in path.parent.iterdir() if entry.suffix in (".jsonl", ".ndjson"))
    except (OSError, ValueError):
        return None
    if not names:
        return None
    listed = ", ".join(safe_line(name, limit=60) for name in names[:5])
    return f"the folder contains {listed}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def unreadable_error(path: Path, error: Exception) -> DataError:
    """The error for a file that cannot be read completely."""
    why = error.strerror if isinstance(error, OSError) else str(error)
    return DataError("cannot read the dataset", where=safe_line(str(path)), why=safe_line(why or str(error)))


def _require_json_lines(path: Path, head: bytes) -> None:
    for magic, what, hint in _NOT_JSON_LINES:
        if head.startswith(magic):
            raise DataError(f"the dataset {what}", where=safe_line(str(path)), hint=hint)
    if is_json_array(head):
        raise DataError(
            "the dataset is a JSON array, not JSON Lines with one object a line",
            where=safe_line(str(path)),
            hint="convert it to JSON Lines, e.g. with jq -c '.[]' data.json > data.jsonl",
        )


def is_json_array(head: bytes) -> bool:
    """Whether a file with these first 4096 bytes is one JSON array, not JSON Lines whose rows are lists."""
    text = head.removeprefix(_BOM).lstrip(_WHITESPACE)
    if text[:1] != b"[":
        return False
    line = text.split(b"\n", 1)[0].strip(_WHITESPACE)
    single_line = b"\n" not in text.rstrip(_WHITESPACE) and len(head) < 4096
    return single_line or not line.endswith(b"]")


def _skip_rest(file: BinaryIO) -> int:
    skipped = 0
    while part := file.readline(2**20):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped


def overlong_problem(number: int, line: bytes, length: int) -> RowProblem:
    """The problem of a row that is too long; `line` is its beginning."""
    what = f"has {length:,} bytes; the limit is {MAX_ROW_BYTES:,} (only the beginning is saved)"
    return RowProblem(number, None, what, None, raw_text(line[:_OVERLONG_PREFIX_BYTES]))


class _DuplicateField(ValueError):
    """A duplicate field, of which `json` would silently return the last one."""


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _value in pairs]
        raise _DuplicateField(next(name for name in names if names.count(name) > 1))
    return values


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique_fields)


def parse_row(
    number: int, text: bytes, line: bytes, *, what: str = "line"
) -> tuple[dict[str, Any] | None, RowProblem | None]:
    """The values of a row, or the problem with it.

    Args:
        text: the row without surrounding white space.
        line: the row as in the file.
        what: "line" or "item", the unit of rows in the file.
    """

    def problem(message: str, hint: str | None = None) -> tuple[None, RowProblem]:
        return None, RowProblem(number, None, message, hint, raw_text(line))

    try:
        # Leading white space is passed to the decoder, so that reported columns are those of the file.
        values = _DECODER.decode(line.removeprefix(_BOM).decode("utf-8").rstrip())
    except UnicodeDecodeError as error:
        detail = f"byte {error.start + 1} of the {what} is 0x{line[error.start]:02x}"
        return problem(f"is not UTF-8: {detail}", _ENCODING_HINT)
    except json.JSONDecodeError as error:
        reason = safe_line(error.msg).removesuffix(" at")
        return problem(f"is invalid JSON: {reason} at {_error_position(what, number, error)}", _json_hint(text))
    except _DuplicateField as error:
        return problem(f"has a duplicate field {quote_text(str(error))}")
    except RecursionError:
        return problem("is invalid JSON: nested too deeply")
    except ValueError as error:  # a number with thousands of digits
        return problem(f"is invalid JSON: {safe_line(str(error), limit=120)}")
    if not isinstance(values, dict):
        return problem(f"is {describe_type(values)}, expected a JSON object", 'write {"text": ..., "image": ..., ...}')
    return values, None


def _error_position(what: str, number: int, error: json.JSONDecodeError) -> str:
    return f"{what} {number}, {'column' if what == 'line' else 'character'} {error.pos + 1}"


def _json_hint(text: bytes) -> str | None:
    if text in (b"{", b"["):
        return "write each row on one line, e.g. with jq -c . data.json > data.jsonl"
    if b"\r" in text:
        return "the file uses CR line endings; save it with Unix line endings"
    if text[:1] == b"{" and b"'" in text and b'"' not in text:
        return "JSON requires double quotes"
    return None


def describe_type(value: object) -> str:
    """The type of a JSON value for messages: "null", "a number (42)", "a list"."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        try:
            return f"a number ({safe_line(str(value), limit=24)})"
        except ValueError:  # more digits than Python converts to text
            return "a number"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, list) else "an object"
