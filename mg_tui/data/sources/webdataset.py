"""WebDataset shards as a source: tar files whose members with the same name before the first dot form a row.

A member's name is never used as a path: nothing is extracted to disk, and links and devices are refused. The values of
a row are those of its members: an image as `image` (several as `images`), `.txt` as `text`, `.cls` as `label`, the
fields of a `.json` object under their own names, and `__key__`. A video or audio is in a column of that name, which is
refused; a member of another type in a column with its extension, which is listed as not used.
"""

import json
import tarfile
from collections.abc import Iterator, Sequence
from itertools import dropwhile
from pathlib import Path
from typing import Any, BinaryIO, Final

from mg_tui.core.errors import DataError
from mg_tui.data.embedded_images import MAX_EMBEDDED_IMAGE_BYTES, too_large_message
from mg_tui.data.image_types import DATASET_IMAGE_EXTENSIONS, media_kind
from mg_tui.data.jsonl import READ_ERRORS, unreadable_error
from mg_tui.data.row_problems import RowProblem, quote_text, safe_line
from mg_tui.data.rows import MAX_ROW_BYTES, Row
from mg_tui.data.sources.base import FormatEvidence, Source
from mg_tui.data.sources.file_types import open_decompressed
from mg_tui.data.sources.strict_tar import DamagedHeader, open_strict_tar

_IMAGE_EXTENSIONS: Final = frozenset(extension[1:] for extension in DATASET_IMAGE_EXTENSIONS)
_TEXT_EXTENSIONS: Final = {"txt": "text", "text": "text", "caption": "caption", "cls": "label"}
_KNOWN_EXTENSIONS: Final = _IMAGE_EXTENSIONS | frozenset(_TEXT_EXTENSIONS) | {"json"}


class WebDatasetSource(Source):
    """One or several tar files, in order. Rows are numbered from 1 over all of them."""

    def __init__(self, name: str, path: Path, files: Sequence[Path], evidence: FormatEvidence):
        super().__init__(name, "webdataset", path, path if path.is_dir() else path.parent, evidence)
        self._files = tuple(files)

    def rows(self, start: int = 1) -> Iterator[Row]:
        """See `Source`; shards are read from their start."""
        return dropwhile(lambda row: row.number < start, self._rows())

    def content_files(self) -> Sequence[Path]:
        """See `Source`."""
        return self._files

    def _rows(self) -> Iterator[Row]:
        number = 0
        for file in self._files:
            try:
                with open_decompressed(file) as opened:
                    for row in _read_shard(opened, number):
                        number = row.number
                        yield row
            except READ_ERRORS as error:
                raise unreadable_error(file, error) from None
        if not number:
            raise DataError("the shards have no rows", where=safe_line(str(self.path)))


class _ShardRow:
    """The members of one row that have been read so far."""

    def __init__(self, key: str):
        self.key = key
        self.values: dict[str, Any] = {}
        self.images: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self.size = 0

    def row(self, number: int) -> Row:
        if self.problems:
            what = "; ".join(self.problems[:3])
            return Row(number, None, RowProblem(number, None, what, None, json.dumps({"__key__": self.key})))
        values = {"__key__": self.key, **self.values}
        if self.images:
            values.update({"image": self.images[0]} if len(self.images) == 1 else {"images": self.images})
        return Row(number, values, None)

    def add(self, tar: tarfile.TarFile, member: tarfile.TarInfo, kind: str) -> None:
        name = quote_text(member.name, limit=80)
        if not member.isreg():
            self.problems.append(f"the member {name} is {_describe_member(member)}, which is ignored")
            return
        limit = MAX_EMBEDDED_IMAGE_BYTES if kind in _IMAGE_EXTENSIONS else MAX_ROW_BYTES
        self.size += member.size
        if member.size > limit or self.size > 4 * MAX_ROW_BYTES:
            self.problems.append(f"the member {name} {too_large_message(member.size)}")
            return
        if kind not in _KNOWN_EXTENSIONS:
            self.values[media_kind(f".{kind}") or f".{kind}"] = member.name
            return
        file = tar.extractfile(member)
        data = file.read() if file is not None else b""
        if kind in _IMAGE_EXTENSIONS:
            self.images.append({"bytes": data, "path": member.name})
        else:
            self._text(name, kind, data)

    def _text(self, name: str, kind: str, data: bytes) -> None:
        try:
            text = data.decode("utf-8")
            if kind != "json":
                self.values[_TEXT_EXTENSIONS[kind]] = text.strip()
                return
            value = json.loads(text)
        except UnicodeDecodeError:
            self.problems.append(f"the member {name} is not UTF-8")
        except (ValueError, RecursionError) as error:
            self.problems.append(f"the member {name} is invalid JSON: {safe_line(str(error), limit=100)}")
        else:
            self.values.update(value if isinstance(value, dict) else {"json": value})


def _read_shard(file: BinaryIO, number: int) -> Iterator[Row]:
    """The rows of one tar file; `number` is that of the row before them."""
    sample: _ShardRow | None = None
    try:
        with open_strict_tar(file) as tar:
            while (member := tar.next()) is not None:
                # tarfile remembers all members of a stream; dropping them bounds the memory.
                vars(tar)["members"].clear()
                if member.isdir():
                    continue
                key, kind = _split_member_name(member.name)
                if sample is None or sample.key != key:
                    if sample is not None:
                        number += 1
                        yield sample.row(number)
                    sample = _ShardRow(key)
                sample.add(tar, member, kind)
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        # Members of the last row may be missing, unless the damage is in a header after it.
        if sample is not None and isinstance(error, DamagedHeader):
            number += 1
            yield sample.row(number)
        what = f"the shard is damaged or truncated: {safe_line(str(error), limit=120)}"
        key = sample.key if sample is not None else ""
        yield Row(number + 1, None, RowProblem(number + 1, None, what, None, json.dumps({"__key__": key})))
        return
    if sample is not None:
        yield sample.row(number + 1)


def _split_member_name(name: str) -> tuple[str, str]:
    """A member's key and type: the path up to the first dot of the file name, and the text after its last dot."""
    folder, slash, last = name.rpartition("/")
    key, _dot, rest = last.partition(".")
    return folder + slash + key, rest.rpartition(".")[2].lower()


def _describe_member(member: tarfile.TarInfo) -> str:
    return "a link" if member.issym() or member.islnk() else "no file"
