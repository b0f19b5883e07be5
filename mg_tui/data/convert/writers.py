"""Writers of datasets, one for each format, in the memory of a few rows."""

import csv
import gzip
import io
import json
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from mg_tui.data.convert.images import ImageExporter, embedded_value
from mg_tui.data.convert.schema import RowSchema, arrow_schema, hf_features
from mg_tui.data.embedded_images import ImageInput
from mg_tui.data.sources.layout_writers import ImageSlot, fill_image_slots

_BUFFERED_ROWS: Final = 256
_BUFFERED_BYTES: Final = 32 * 2**20
_SHARD_BYTES: Final = 2**30


class FormatWriter(ABC):
    """Writes rows to `target`, a file or folder inside the staging folder."""

    def __init__(self, target: Path, schema: RowSchema, exporter: ImageExporter):
        self.target = target
        self.schema = schema
        self.image_exporter = exporter

    @abstractmethod
    def write(self, values: Mapping[str, Any], images: Sequence[ImageInput]) -> None:
        """Write one row; its `ImageSlot`s are indexes into `images`. Raises ImageError and OSError."""

    @abstractmethod
    def close(self) -> None:
        """Finish the files."""


class JsonLinesWriter(FormatWriter):
    """JSON Lines, compressed when the name ends in .gz or .zst; base of the other text formats."""

    def __init__(self, target: Path, schema: RowSchema, exporter: ImageExporter):
        super().__init__(target, schema, exporter)
        self._file = io.TextIOWrapper(_open_compressed(target), encoding="utf-8", newline="")
        self._rows = 0

    def write(self, values: Mapping[str, Any], images: Sequence[ImageInput]) -> None:
        """See `FormatWriter`."""
        self._line(fill_image_slots(dict(values), lambda slot: self.image_exporter.reference(images[slot.index])))
        self._rows += 1

    def _line(self, row: dict[str, Any]) -> None:
        self._file.write(_to_json(row) + "\n")

    def close(self) -> None:
        """See `FormatWriter`."""
        self._file.close()


class JsonArrayWriter(JsonLinesWriter):
    """A JSON array with one item a line."""

    def _line(self, row: dict[str, Any]) -> None:
        self._file.write(("[\n" if not self._rows else ",\n") + _to_json(row))

    def close(self) -> None:
        """See `FormatWriter`."""
        self._file.write("\n]\n" if self._rows else "[]\n")
        super().close()


class CsvWriter(JsonLinesWriter):
    """CSV or TSV; values other than texts are written as JSON."""

    def _line(self, row: dict[str, Any]) -> None:
        if not self._rows:
            name = self.target.name.lower()
            delimiter = "\t" if ".tsv" in name or ".tab" in name else ","
            self._csv = csv.writer(self._file, delimiter=delimiter, lineterminator="\n")
            self._csv.writerow(self.schema.names)
        self._csv.writerow([_to_cell(row.get(name)) for name in self.schema.names])


class ColumnarWriter(FormatWriter):
    """Parquet, Arrow, or a folder as `datasets` saves one; images are embedded unless they are referenced."""

    def __init__(self, target: Path, schema: RowSchema, exporter: ImageExporter, format: str):
        super().__init__(target, schema, exporter)
        # An OpenAI content part references its image by a text: a path, a URL or a data URI.
        self._embed = exporter.mode == "embed" and schema.layout != "openai"
        self._schema = arrow_schema(schema, embed=self._embed)
        self._format = format
        self._rows: list[dict[str, Any]] = []
        self._size = 0
        if format == "saved":
            target.mkdir()
        self._writer = self._open(target / "data-00000-of-00001.arrow" if format == "saved" else target)

    def _open(self, file: Path) -> Any:
        if self._format == "parquet":
            import pyarrow.parquet as pq  # type: ignore[import-untyped]

            return pq.ParquetWriter(file, self._schema)
        import pyarrow as pa

        make: Callable[..., Any] = pa.ipc.new_stream if self._format == "saved" else pa.ipc.new_file
        return make(pa.OSFile(str(file), "wb"), self._schema)

    def write(self, values: Mapping[str, Any], images: Sequence[ImageInput]) -> None:
        """See `FormatWriter`."""
        if self.schema.layout == "openai":
            values = {**values, "messages": [_as_content_parts(turn) for turn in values["messages"]]}
        row = fill_image_slots(
            {name: self.schema.convert_value(name, value) for name, value in values.items()}, self._render(images)
        )
        self._rows.append(row)
        if len(self._rows) >= _BUFFERED_ROWS or self._size >= _BUFFERED_BYTES:
            self._flush()

    def _render(self, images: Sequence[ImageInput]) -> Callable[[ImageSlot], Any]:
        def render(slot: ImageSlot) -> Any:
            if not self._embed:
                return self.image_exporter.reference(images[slot.index])
            content = self.image_exporter.read_bytes(images[slot.index])
            self._size += len(content[0])
            return embedded_value(content)

        return render

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            table = pa.Table.from_pylist(self._rows, schema=self._schema)
            self._writer.write_table(table)
        self._rows, self._size = [], 0

    def close(self) -> None:
        """See `FormatWriter`."""
        self._flush()
        self._writer.close()
        if self._format == "saved":
            state: dict[str, Any] = {
                "_data_files": [{"filename": "data-00000-of-00001.arrow"}],
                "_fingerprint": "modelgarden",
                "_format_columns": None,
                "_format_kwargs": {},
                "_format_type": None,
                "_output_all_columns": False,
                "_split": "train",
            }
            (self.target / "state.json").write_text(json.dumps(state, indent=2), "utf-8")
            info = {
                "features": hf_features(self._schema),
                "citation": "",
                "description": "",
                "homepage": "",
                "license": "",
            }
            (self.target / "dataset_info.json").write_text(json.dumps(info, indent=2), "utf-8")


class ImageFolderWriter(FormatWriter):
    """A folder of images with a `metadata.jsonl`."""

    def __init__(self, target: Path, schema: RowSchema, exporter: ImageExporter):
        super().__init__(target, schema, exporter)
        target.mkdir(exist_ok=True)
        self._file = (target / "metadata.jsonl").open("w", encoding="utf-8", newline="\n")

    def write(self, values: Mapping[str, Any], images: Sequence[ImageInput]) -> None:
        """See `FormatWriter`."""
        link = self.image_exporter.mode == "link"
        row = fill_image_slots(dict(values), lambda slot: self.image_exporter.copy(images[slot.index], link=link))
        named: dict[str, Any] = {}
        for name, value in row.items():
            if name in ("image", "images"):
                named["file_names" if isinstance(value, list) else "file_name"] = value
            else:
                named[name] = value
        self._file.write(_to_json(named) + "\n")

    def close(self) -> None:
        """See `FormatWriter`."""
        self._file.close()


class WebDatasetWriter(FormatWriter):
    """WebDataset: one tar file, or a folder of tar files of about 1 GiB."""

    def __init__(self, target: Path, schema: RowSchema, exporter: ImageExporter):
        super().__init__(target, schema, exporter)
        self._single = target.suffix == ".tar"
        if not self._single:
            target.mkdir()
        self._shard = self._size = self._rows = 0
        self._tar = self._open()

    def _open(self) -> tarfile.TarFile:
        file = self.target if self._single else self.target / f"shard-{self._shard:06d}.tar"
        return tarfile.open(file, "w", format=tarfile.PAX_FORMAT)

    def write(self, values: Mapping[str, Any], images: Sequence[ImageInput]) -> None:
        """See `FormatWriter`."""
        if not self._single and self._size >= _SHARD_BYTES:
            self._tar.close()
            self._shard, self._size = self._shard + 1, 0
            self._tar = self._open()
        key = f"{self._rows:09d}"
        for index, slot in enumerate(_find_slots(values)):
            data, name = self.image_exporter.read_bytes(images[slot.index])
            extension = Path(name).suffix.lower() or ".png"
            self._add(key + (f".{index:03d}" if self.schema.multiple_images else "") + extension, data)
        rest = {name: value for name, value in values.items() if name not in ("image", "images")}
        if not images:
            rest["image"] = None
        self._add(f"{key}.json", _to_json(rest).encode("utf-8"))
        self._rows += 1

    def _add(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        member.mode = 0o644
        self._tar.addfile(member, io.BytesIO(data))
        self._size += len(data)

    def close(self) -> None:
        """See `FormatWriter`."""
        self._tar.close()


def open_writer(format: str, target: Path, schema: RowSchema, exporter: ImageExporter) -> FormatWriter:
    """The writer of a format."""
    if format in ("parquet", "arrow", "saved"):
        return ColumnarWriter(target, schema, exporter, format)
    kinds: dict[str, Callable[[Path, RowSchema, ImageExporter], FormatWriter]] = {
        "jsonl": JsonLinesWriter,
        "json": JsonArrayWriter,
        "csv": CsvWriter,
        "imagefolder": ImageFolderWriter,
        "webdataset": WebDatasetWriter,
    }
    return kinds[format](target, schema, exporter)


def _open_compressed(target: Path) -> BinaryIO:
    name = target.name.lower()
    if name.endswith((".gz", ".gzip")):
        return cast(BinaryIO, gzip.open(target, "wb"))
    if name.endswith((".zst", ".zstd")):
        import pyarrow as pa

        return cast(BinaryIO, io.BufferedWriter(pa.CompressedOutputStream(pa.OSFile(str(target), "wb"), "zstd"), 2**20))
    return target.open("wb")


def _as_content_parts(turn: Mapping[str, Any]) -> dict[str, Any]:
    """The turn with its content as a list of parts, since a column holds values of one type."""
    content = turn["content"]
    return {**turn, "content": [{"type": "text", "text": content}] if isinstance(content, str) else content}


def _find_slots(value: Any) -> list[ImageSlot]:
    if isinstance(value, ImageSlot):
        return [value]
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [slot for item in items for slot in _find_slots(item)]


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _to_cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else _to_json(value)
