"""Examples in a file: a large dataset is read once, and afterwards an example is parsed when it is asked for.

A record is one line of JSON: `[row, weight, [[role, supervised, [text or image number, ...]], ...], references]`.
After the records come the arrays of `ExampleColumns` and the offsets of the records. The file is written once and never
changed.
"""

import json
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, overload

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.data.digests import ContentFingerprint
from mg_tui.data.example_columns import ExampleColumns, compute_columns

_CHUNK_RECORDS: Final = 1024
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class TableFile:
    """Where the parts of a table's file are, as its description stores it.

    Attributes:
        records: bytes of the records, which the file begins with.
        examples: number of records.
        image_uses: images of all examples, with repetitions.
        fingerprint: see `ContentFingerprint`.
    """

    records: int
    examples: int
    image_uses: int
    fingerprint: str


class ExampleTable(Sequence[Example]):
    """The examples of a table's file, or some of them, as a sequence. May be used after a fork.

    Args:
        path: the file.
        parts: its parts.
        images: the image of each number in the records.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is shorter than its parts.
    """

    def __init__(self, path: Path, parts: TableFile, images: Sequence[ImageRef]):
        self.path = path
        self.images = tuple(images)
        self.parts = parts
        self._file: int | None = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._image_parts = [ImagePart(image) for image in images]
        count = parts.examples
        layout = (("Q", count + 1), ("Q", count), ("Q", count), ("I", count), ("Q", count + 1), ("I", parts.image_uses))
        arrays: list[array[int]] = []
        at = parts.records
        for code, length in layout:
            values = array(code)
            values.frombytes(_read_exactly(self._file, length * values.itemsize, at))
            arrays.append(values)
            at += length * values.itemsize
        self._offsets = arrays[0]
        rows, keys, answers, starts, ids = arrays[1:]
        self.columns = ExampleColumns(rows, keys, answers, starts, ids, [image.path for image in images])
        self._indices: Sequence[int] = range(count)

    @property
    def fingerprint(self) -> str | None:
        """See `ContentFingerprint`; None for a selection of examples."""
        return self.parts.fingerprint if isinstance(self._indices, range) else None

    def select(self, indices: Sequence[int]) -> "ExampleTable":
        """Some of the examples, by their indexes in this sequence."""
        chosen = object.__new__(ExampleTable)
        chosen.__dict__.update(self.__dict__)
        chosen._indices = array("Q", (self._indices[index] for index in indices))
        chosen.columns = self.columns.select(indices)
        return chosen

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> "ExampleTable": ...
    def __getitem__(self, index: int | slice) -> "Example | ExampleTable":
        if isinstance(index, slice):
            return self.select(range(len(self))[index])
        number = self._indices[index]
        return self._parse(self._read(number, number + 1))

    def __iter__(self) -> Iterator[Example]:
        for start in range(0, len(self), _CHUNK_RECORDS):
            numbers = self._indices[start : start + _CHUNK_RECORDS]
            if numbers[-1] - numbers[0] == len(numbers) - 1:
                yield from map(self._parse, self._read(numbers[0], numbers[-1] + 1).splitlines())
            else:
                yield from (self._parse(self._read(number, number + 1)) for number in numbers)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}  # another process opens the file itself

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _read(self, first: int, last: int) -> bytes:
        try:
            if self._file is None:
                self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(self._file, self._offsets[last] - self._offsets[first], self._offsets[first])
        except OSError as error:
            raise self._unreadable(error.strerror) from None

    def _parse(self, record: bytes) -> Example:
        try:
            row, weight, turns, references = json.loads(record.decode("utf-8", "surrogatepass"))
            parts = self._image_parts
            messages = tuple(
                Message(role, tuple(TextPart(p) if isinstance(p, str) else parts[p] for p in content), supervised)
                for role, supervised, content in turns
            )
        except (ValueError, TypeError, IndexError) as error:
            raise self._unreadable(str(error)) from None
        return Example(row, messages, weight, tuple(references))

    def _unreadable(self, why: str | None) -> EnvironmentProblem:
        return EnvironmentProblem(
            "cannot read cached rows", where=str(self.path), why=why, hint="model-garden cache clear rows"
        )


class ExampleTableWriter:
    """Writes a table's file: examples in order, then `finish`."""

    def __init__(self, file: BinaryIO):
        self.images: dict[ImageRef, int] = {}
        self._file = file
        self._offsets = array("Q", [0])
        self._columns = ExampleColumns()
        self._by_path: dict[str, int] = {}
        self._fingerprint = ContentFingerprint()

    def add(self, example: Example) -> None:
        """Write an example.

        Raises:
            OSError: the disk is full.
        """
        turns = [
            [
                message.role,
                message.supervised,
                [
                    self.images.setdefault(part.image, len(self.images)) if isinstance(part, ImagePart) else part.text
                    for part in message.parts
                ],
            ]
            for message in example.messages
        ]
        record = _ENCODER.encode([example.row, example.weight, turns, example.references])
        line = record.encode("utf-8", "surrogatepass") + b"\n"
        self._file.write(line)
        self._offsets.append(self._offsets[-1] + len(line))
        # Images of one path are one image, whatever the rows call it.
        self._columns.append(example, [self._by_path.setdefault(i.path, self.images[i]) for i in example.images])
        self._fingerprint.add(example)

    def finish(self) -> TableFile:
        """Write the arrays.

        Raises:
            OSError: the disk is full.
        """
        columns = self._columns
        for values in (
            self._offsets,
            columns.rows,
            columns.keys,
            columns.answers,
            columns.image_starts,
            columns.image_ids,
        ):
            self._file.write(values.tobytes())
        count = len(columns)
        return TableFile(self._offsets[-1], count, len(columns.image_ids), self._fingerprint.value)


def columns_of(examples: Sequence[Example]) -> ExampleColumns:
    """The columns of examples: those of a table, or computed."""
    return examples.columns if isinstance(examples, ExampleTable) else compute_columns(examples)


def select_examples(examples: Sequence[Example], indices: Sequence[int]) -> Sequence[Example]:
    """Some of the examples, by their indexes, as a sequence of the same kind; all of them are not copied."""
    if isinstance(examples, ExampleTable):
        return examples if indices == range(len(examples)) else examples.select(indices)
    return tuple(examples[index] for index in indices)


def _read_exactly(file: int, count: int, offset: int) -> bytes:
    blocks = []
    while count:  # a read returns 2 GiB at most
        block = os.pread(file, count, offset)
        if not block:
            raise ValueError("the file is too short")
        blocks.append(block)
        count -= len(block)
        offset += len(block)
    return b"".join(blocks)
