"""Parquet and Arrow files, and folders saved by `datasets`, as sources: read a few rows at a time.

The `datasets` library is not needed: its folders are Arrow streams beside a `state.json` that lists them. Class labels
are replaced by their names, which the library stores in the schema's metadata.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.errors import DataError
from mg_tui.data.jsonl import unreadable_error
from mg_tui.data.row_problems import RowProblem, safe_line
from mg_tui.data.rows import MAX_ROW_BYTES, Row
from mg_tui.data.sources.arrow_bounds import decompressed_sizes
from mg_tui.data.sources.base import FormatEvidence, Source
from mg_tui.data.sources.file_types import read_small_file, require_regular_file

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

# Rows with embedded images take megabytes each.
_BATCH_ROWS: Final = 32
# Compressed images do not shrink further; texts shrink by 3 to 10.
_SUSPICIOUS_RATIO: Final = 50
_MAX_SUSPICIOUS_BYTES: Final = 512 * 2**20
_STREAM_MAGIC: Final = b"\xff\xff\xff\xff"

ClassNames = Mapping[str, Sequence[str]]


class ColumnarSource(Source):
    """One or several files of one dataset, in order.

    Args:
        format: "parquet", "arrow", or "saved" for a folder of Arrow files.
    """

    def __init__(self, name: str, format: str, path: Path, files: Sequence[Path], evidence: FormatEvidence):
        super().__init__(name, format, path, path if path.is_dir() else path.parent, evidence)
        self._files = tuple(files)

    def rows(self, start: int = 1) -> Iterator[Row]:
        """See `Source`; rows are numbered from 1 over all files, and those before `start` are not read."""
        rows_before = 0
        for file in self._files:
            with _arrow_errors_as_data_errors(file):
                count = _count_rows(file)
                if rows_before + count >= start:
                    yield from self._rows(file, rows_before, max(start - rows_before - 1, 0))
                rows_before += count
        if not rows_before:
            raise DataError("the dataset has no rows", where=safe_line(str(self.path)))

    def _rows(self, file: Path, rows_before: int, skip: int) -> Iterator[Row]:
        for index, batch, names in (
            _parquet_batches(file, skip) if _is_parquet(file) else _arrow_batches_from(file, skip)
        ):
            for offset in range(max(skip - index, 0), batch.num_rows, _BATCH_ROWS):
                yield from _batch_rows(batch.slice(offset, _BATCH_ROWS), rows_before + index + offset + 1, names)

    def content_files(self) -> Sequence[Path]:
        """See `Source`."""
        return self._files

    def count(self) -> int | None:
        """See `Source`."""
        total = 0
        for file in self._files:
            with _arrow_errors_as_data_errors(file):
                total += _count_rows(file)
        return total


@contextmanager
def _arrow_errors_as_data_errors(file: Path) -> Iterator[None]:
    """Turns errors of pyarrow into a DataError that names the file."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        why = error if isinstance(error, OSError) else OSError(None, safe_line(str(error), limit=300))
        raise unreadable_error(file, why) from None


def _is_parquet(file: Path) -> bool:
    require_regular_file(file)
    with file.open("rb") as opened:
        return opened.read(4) == b"PAR1"


def _count_rows(file: Path) -> int:
    if _is_parquet(file):
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        return int(pq.read_metadata(file).num_rows)
    # The bodies of batches are memory-mapped, not read.
    return sum(batch.num_rows for batch in _arrow_batches(file))


def _parquet_batches(file: Path, skip: int) -> Iterator[tuple[int, "pa.RecordBatch", ClassNames]]:
    """(index of the first row, batch, class names), starting with the batch that contains row `skip`."""
    import pyarrow.parquet as pq

    index = 0
    with pq.ParquetFile(file) as opened:
        names = _class_names(opened.schema_arrow)
        for group in range(opened.num_row_groups):
            count = opened.metadata.row_group(group).num_rows
            if index + count > skip:
                at, size = index, _require_bounded_group(opened.metadata.row_group(group), file)
                for batch in opened.iter_batches(batch_size=size, row_groups=[group]):
                    if at + batch.num_rows > skip:
                        yield at, batch, names
                    at += batch.num_rows
            index += count


def _require_bounded_group(group: Any, file: Path) -> int:
    """How many rows of a row group to decode at a time: one if its values expand suspiciously.

    A value that is stored once, in a dictionary, may be that of every row.

    Raises:
        DataError: decoding a column would take more memory than any dataset needs.
    """
    rows = _BATCH_ROWS
    for index in range(group.num_columns):
        column = group.column(index)
        if column.total_uncompressed_size < MAX_ROW_BYTES // _BATCH_ROWS:
            continue
        ratio = column.total_uncompressed_size / max(column.total_compressed_size, 1)
        if ratio > _SUSPICIOUS_RATIO:
            rows = 1
            if column.total_uncompressed_size > _MAX_SUSPICIOUS_BYTES:
                raise DataError(
                    f"a column of {column.total_compressed_size:,} bytes claims "
                    f"{column.total_uncompressed_size:,} bytes when decompressed",
                    where=safe_line(str(file)),
                )
    return rows


def _arrow_batches_from(file: Path, skip: int) -> Iterator[tuple[int, "pa.RecordBatch", ClassNames]]:
    """(index of the first row, batch, class names), starting with the batch that contains row `skip`."""
    index = 0
    for batch in _arrow_batches(file):
        if index + batch.num_rows > skip:
            yield index, batch, _class_names(batch.schema)
        index += batch.num_rows


def _arrow_batches(file: Path) -> Iterator["pa.RecordBatch"]:
    import pyarrow as pa

    with pa.memory_map(str(file)) as mapped:
        _require_bounded_batches(mapped, file)
        mapped.seek(0)
        if mapped.read(4) == _STREAM_MAGIC:
            mapped.seek(0)
            with pa.ipc.open_stream(mapped) as stream:
                yield from stream
        else:
            mapped.seek(0)
            with pa.ipc.open_file(mapped) as opened:
                for number in range(opened.num_record_batches):
                    yield opened.get_batch(number)


def _require_bounded_batches(mapped: "pa.MemoryMappedFile", file: Path) -> None:
    """Require that no batch decompresses to more memory than any dataset needs.

    Raises:
        DataError: one does.
    """
    import pyarrow as pa

    # A file has a magic number of 8 bytes before the messages of a stream.
    mapped.seek(0 if mapped.read(4) == _STREAM_MAGIC else 8)
    for stored, size in decompressed_sizes(pa.ipc.MessageReader.open_stream(mapped)):
        if size > _MAX_SUSPICIOUS_BYTES and size > _SUSPICIOUS_RATIO * stored:
            raise DataError(
                f"a batch of {stored:,} bytes claims {size:,} bytes when decompressed", where=safe_line(str(file))
            )


def _class_names(schema: "pa.Schema") -> ClassNames:
    """Class names of the columns that have them, from the metadata that `datasets` writes into the schema."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        labels = {name: feature for name, feature in features.items() if feature.get("_type") == "ClassLabel"}
        class_names = {name: feature["names"] for name, feature in labels.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {name: names for name, names in class_names.items() if isinstance(names, list)}


def _batch_rows(batch: "pa.RecordBatch", first: int, names: ClassNames) -> Iterator[Row]:
    # A file may contain offsets outside its buffers; it is validated before any value is accessed.
    batch.validate(full=True)
    large = batch.nbytes > MAX_ROW_BYTES
    for index in range(batch.num_rows):
        number = first + index
        if large and (size := batch.slice(index, 1).nbytes) > MAX_ROW_BYTES:
            yield Row(number, None, RowProblem(number, None, f"has {size:,} bytes; the limit is {MAX_ROW_BYTES:,}"))
            continue
        try:
            values = {
                name: column[index].as_py() for name, column in zip(batch.schema.names, batch.columns, strict=True)
            }
        except (ValueError, OverflowError, TypeError, KeyError) as error:
            what = f"cannot be read: {safe_line(str(error), limit=200)}"
            yield Row(number, None, RowProblem(number, None, what))
            continue
        yield Row(number, {name: _class_name(value, names.get(name)) for name, value in values.items()}, None)


def _class_name(value: Any, names: Sequence[str] | None) -> Any:
    if names is not None and isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return value


def saved_dataset_files(folder: Path) -> list[Path]:
    """The Arrow files of a folder that `datasets` saved one split into.

    Raises:
        DataError: its `state.json` cannot be read, or names a file outside the folder.
    """
    try:
        state = json.loads(read_small_file(folder / "state.json"))
        files = [str(entry["filename"]) for entry in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            "cannot read state.json of the saved dataset",
            where=safe_line(str(folder)),
            why=safe_line(str(error), limit=200),
        ) from None
    for name in files:
        if Path(name).name != name:
            raise DataError(
                "state.json refers to a file outside its folder", where=safe_line(str(folder)), why=safe_line(name)
            )
    return [folder / name for name in files]
