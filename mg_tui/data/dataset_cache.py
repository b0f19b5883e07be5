"""The cache of large datasets as they were read, so that the worker of a run, and the next run, need not read them.

A dataset is described by a JSON file that names a file of examples (`mg_tui.data.example_table`), written first. Both
are used only while everything that decided them is unchanged: the dataset's files (size, modification time, first and
last bytes), how they are read, and size and modification time of every image; both have checksums. Rows with unusable
images may be repaired any time, so datasets that have such rows are not cached.
"""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.core.example import ImageRef
from mg_tui.core.files import write_atomic
from mg_tui.data.example_table import ExampleTable, ExampleTableWriter, TableFile
from mg_tui.data.image_resolver import ResolvedImage
from mg_tui.data.images import ImageError, ImageInfo
from mg_tui.data.line_index import file_identity
from mg_tui.data.loaded_dataset import Dataset, DatasetBuilder, RowCounter
from mg_tui.data.policy import ALLOW_ALL
from mg_tui.data.row_loader import LoadedRow, ReadOptions
from mg_tui.data.row_problems import RowProblem
from mg_tui.data.sources.base import DetectedFormat, Source

_FORMAT: Final = 2
_BLOCK_BYTES: Final = 2**20
_MAX_PROBLEMS: Final = 100_000
_STALE_SECONDS: Final = 3600  # another process may be writing a younger file
# Where these images are cannot change by a file that appears in another folder.
_FIXED_LOCATIONS: Final = frozenset({"dataset folder", "absolute path", "row", "address"})


class DatasetCache:
    """The cached rows of one dataset, read in one way."""

    def __init__(self, source: Source, options: ReadOptions, folder: Path, name: str, key: str):
        self._source = source
        self._options = options
        self._folder = folder
        self._name = name
        self._key = key
        self._file = folder / f"{name}.json"

    @classmethod
    def of(cls, source: Source, options: ReadOptions) -> Self | None:
        """The cache of a dataset; None where it cannot be cached."""
        detected = options.detected_format
        if options.cache is None or options.policy is not ALLOW_ALL or detected is None:
            return None
        try:
            files = source.content_files()
            if files is None:
                return None
            identities = [(str(path.absolute()), *astuple(file_identity(path))) for path in files]
        except OSError:
            return None
        fields = {**asdict(detected.fields), "explicit": None, "ignored": None}
        sets = [sorted(detected.fields.explicit), sorted(detected.fields.ignored)]
        how = [detected.format, detected.layout, fields, sets, str(options.image_root), str(options.cwd)]
        name = _digest([source.address, source.encoding, how, options.system_prompt])[:40]
        key = _digest([_FORMAT, name, identities, options.allow_private_urls])
        return cls(source, options, options.cache / "rows", name, key)

    def open(self) -> Dataset | None:
        """The dataset; None when it is not cached, or something has changed since."""
        try:
            return self._open()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def is_current(self) -> bool:
        """Whether the dataset's files are still what they were when this was created."""
        now = self.of(self._source, self._options)
        return now is not None and now._key == self._key

    def _open(self) -> Dataset | None:
        text = self._file.read_bytes()
        digest, _line_end, body = text.partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != digest:
            return None
        head: dict[str, Any] = json.loads(body.decode("utf-8", "surrogatepass"))
        options = self._options
        if head["key"] != self._key or (options.probe_depth == "decode" and head["depth"] != "decode"):
            return None
        if options.probe_depth == "header" and head["depth"] == "none":
            return None
        path = self._folder / head["file"]
        if path.parent != self._folder or _file_digest(path) != head["digest"] or not self._has_same_images(head):
            return None
        images = [ImageRef(*ref) for ref in head["images"]]
        table = ExampleTable(path, TableFile(**head["table"]), images)
        return Dataset(
            path=self._source.path or Path(self._source.name),
            examples=table,
            problems=tuple(RowProblem(*problem) for problem in head["problems"]),
            image_locations=head["locations"],
            image_infos={path: ImageInfo(*info) for path, _status, info in head["files"] if info is not None},
            notes=tuple(RowProblem(*note) for note in head["notes"]),
            detected_format=options.detected_format,
            address=self._source.address,
            unused_columns=head["unused"],
            text_markers=head["markers"],
            last_row=int(head["last_row"]),
            content=_digest([self._key, digest.decode()]),
        )

    def _has_same_images(self, head: Mapping[str, Any]) -> bool:
        resolver = self._options.make_resolver(self._source.base)
        try:
            for original, path in head["searched"]:
                if resolver.resolve(original).ref.path != path:
                    return False
        except ImageError:
            return False
        return all(_file_status(path) == status for path, status, _info in head["files"])

    def create_file(self) -> BinaryIO | None:
        """A new file for examples; None when the cache cannot be written."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=f"{self._name}-", suffix=".examples", dir=self._folder)
        except OSError:
            return None
        os.close(descriptor)
        return Path(name).open("wb")

    def save(self, dataset: Dataset, images: Mapping[str, ResolvedImage], file: Path, digest: str) -> Dataset | None:
        """Describe a file of examples; the dataset as it is read from now on, None when the cache cannot be written.

        Raises:
            OSError: an image has been removed since it was opened.
        """
        table = dataset.examples
        assert isinstance(table, ExampleTable)
        infos = dataset.image_infos
        head = {
            "key": self._key,
            "depth": self._options.probe_depth,
            "file": file.name,
            "digest": digest,
            "table": asdict(table.parts),
            "images": [[ref.path, ref.original] for ref in table.images],
            "files": [[p, _require_status(p), astuple(infos[p]) if p in infos else None] for p in images],
            "searched": [
                [image.ref.original, path] for path, image in images.items() if image.location not in _FIXED_LOCATIONS
            ],
            "problems": [astuple(problem) for problem in dataset.problems],
            "notes": [astuple(note) for note in dataset.notes],
            "locations": dict(dataset.image_locations),
            "unused": dict(dataset.unused_columns),
            "markers": dict(dataset.text_markers),
            "last_row": dataset.last_row,
        }
        body = json.dumps(head, ensure_ascii=False).encode("utf-8", "surrogatepass")
        write_atomic(self._file, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        self._remove_old_files(file)
        return self.open()

    def _remove_old_files(self, current: Path) -> None:
        """Remove files of examples that are no longer described; processes that have one open keep it."""
        for path in self._folder.glob(f"{self._name}-*.examples"):
            with suppress(OSError):
                if path != current and time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()


class DatasetRecorder:
    """Collects the rows of a dataset as they are read and caches a large one. A context manager: an interrupted
    reading leaves no file.

    Args:
        source: the dataset.
        cache: its cache; None keeps the examples in memory.
        counter: counts its rows; by default those that are added.
    """

    def __init__(self, source: Source, cache: DatasetCache | None, counter: RowCounter | None = None):
        self._cache = cache
        self._counter = counter or RowCounter()
        self._builder = DatasetBuilder(source, self._counter, self._open_writer if cache is not None else None)
        self._file: BinaryIO | None = None
        self._stack = ExitStack()
        self.stored: Dataset | None = None  # once it is cached

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def _open_writer(self) -> ExampleTableWriter | None:
        assert self._cache is not None
        self._file = file = self._cache.create_file()
        if file is None:
            return None
        self._stack.callback(lambda: Path(file.name).unlink(missing_ok=True))
        self._stack.callback(file.close)
        return ExampleTableWriter(file)

    def add(self, rows: Iterable[LoadedRow]) -> None:
        """Add the next rows.

        Raises:
            EnvironmentProblem: the cache cannot be written.
        """
        try:
            for row in rows:
                self._builder.add(row)
                self._counter.last_row = max(self._counter.last_row, row.number)
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> EnvironmentProblem:
        where = self._file.name if self._file is not None else None
        return EnvironmentProblem("cannot write rows to the cache", where=where, why=error.strerror)

    def record(self, batches: Iterable[list[LoadedRow]], detected: DetectedFormat | None) -> Iterator[list[LoadedRow]]:
        """The batches unchanged, each added; after the last one, the dataset is cached."""
        if self._cache is None:
            yield from batches
            return
        with self:
            for batch in batches:
                self.add(batch)
                yield batch
            if detected is not None and self._builder.writer is not None:
                self.finish(detected)

    def finish(self, detected: DetectedFormat) -> Dataset:
        """The dataset of all rows.

        Raises:
            EnvironmentProblem: the cache cannot be written.
        """
        builder, file = self._builder, self._file
        if builder.writer is None or file is None:
            return builder.build(detected)
        try:
            parts = builder.writer.finish()
            file.flush()
        except OSError as error:
            raise self._unwritable(error) from None
        path = Path(file.name)
        table = ExampleTable(path, parts, list(builder.writer.images))
        dataset = builder.build(detected, table)
        assert self._cache is not None
        if builder.has_image_errors or len(dataset.problems) > _MAX_PROBLEMS or not self._cache.is_current():
            # The table has the file open, which disappears with the process.
            return dataset
        saved = None
        with suppress(OSError):
            saved = self._cache.save(dataset, builder.images, path, _file_digest(path))
        if saved is None:
            return dataset
        self._stack.pop_all()
        file.close()
        self.stored = saved
        return saved


def _file_status(path: str) -> list[int] | None:
    try:
        return _require_status(path)
    except (OSError, ValueError):
        return None


def _require_status(path: str) -> list[int]:
    status = os.stat(path)  # noqa: PTH116 - a third of the time of Path.stat, for every image of a dataset
    return [status.st_size, status.st_mtime_ns]


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _digest(values: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(values, default=str).encode("utf-8", "surrogatepass")).hexdigest()
