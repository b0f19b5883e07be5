"""Converts a dataset to another format or layout; content that the target cannot hold is reported.

Every row is read first, so that nothing is written when a row cannot be converted, and so that columns are known. Then
everything is written to a staging folder and moved into place at the end.
"""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mg_tui.core.errors import DataError, EnvironmentProblem, UsageError
from mg_tui.data.convert.images import ImageExporter, ImageMode
from mg_tui.data.convert.rows import RowConverter
from mg_tui.data.convert.schema import RowSchema
from mg_tui.data.convert.writers import open_writer
from mg_tui.data.dataset_writer import output_exists_error
from mg_tui.data.embedded_images import EmbeddedImageStore
from mg_tui.data.image_resolver import ImageResolver
from mg_tui.data.row_problems import BadRows, quote_text, safe_line, write_rejects
from mg_tui.data.sources.base import FORMATS, DetectedFormat, Source
from mg_tui.data.sources.file_types import format_extension
from mg_tui.data.sources.layout_writers import WRITABLE_LAYOUTS

FORMAT_BY_EXTENSION: Final[Mapping[str, str]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".tar": "webdataset",
}
_EMBEDDING_FORMATS: Final = ("parquet", "arrow", "saved", "webdataset")
_IMAGES_INSIDE_FORMATS: Final = frozenset({"imagefolder", "webdataset"})

# Layouts that are not written, and what their rows are written as.
_WRITTEN_AS: Final = {"vqa": "fields", "choices": "fields", "labelstudio": "fields"}


@dataclass(frozen=True, slots=True)
class ConvertRequest:
    """Target and options of a conversion.

    Attributes:
        out: the file or folder to write.
        format: a key of `FORMATS` except "hub"; inferred from the name of `out` when None.
        layout: a key of `WRITABLE_LAYOUTS`; the source's, or the closest one, when None.
        images: how images are exported; "auto" is the usual way of the format.
        skip_bad_rows: skip rows that cannot be read or written, and write them to a file beside `out`.
        force: overwrite an existing file.
    """

    out: Path
    format: str | None = None
    layout: str | None = None
    images: ImageMode = "auto"
    skip_bad_rows: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class ConvertResult:
    """The result of a conversion.

    Attributes:
        out, images: the dataset, and the folder of copied images if there is one beside it.
        format, layout: of the written dataset.
        rows, skipped_rows: rows written, and rows that could not be.
        rejects: the file of those rows.
        losses: descriptions of content that was lost in conversion, each with the number of rows.
    """

    out: Path
    images: Path | None
    format: str
    layout: str
    rows: int
    skipped_rows: int = 0
    rejects: Path | None = None
    losses: Mapping[str, int] = field(default_factory=dict)


def convert(
    source: Source,
    detected: DetectedFormat,
    request: ConvertRequest,
    *,
    cache: Path | None,
    resolver: ImageResolver,
    progress: Callable[[int], None] | None = None,
) -> ConvertResult:
    """Write a dataset in another format or layout.

    Args:
        source, detected: the dataset to read; see `mg_tui.data.from_spec.open_source_from_spec`.
        cache: the garden's cache folder.
        resolver: resolves the images of `source`.
        progress: called with rows done; the total is twice the number of rows, which are read twice.

    Raises:
        UsageError: the target cannot be written in this way, or the output exists.
        DataError: the source cannot be read, or has rows that cannot be converted (`BadRows`).
        EnvironmentProblem: it cannot be written.
    """
    format, layout = _resolve_format_and_layout(request, detected)
    out = request.out.expanduser().absolute()
    images = out.with_name(f"{out.name.split('.')[0]}_images")
    _require_output_free(out, images, request.force)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise _unwritable_error(out, error) from None
    target = staging / out.name
    inside = format == "imagefolder"
    exporter = ImageExporter(
        _image_mode(request.images, format),
        resolver,
        out.parent,
        target if inside else staging / "images",
        "" if inside else images.name,
    )
    converter = RowConverter(source, detected, layout, EmbeddedImageStore(cache), exporter, progress)
    try:
        converter.scan()
        if converter.problems and not request.skip_bad_rows:
            raise BadRows(converter.problems, where=safe_line(source.name), examples=converter.good_rows)
        if not converter.good_rows:
            raise DataError("no row can be converted", where=safe_line(source.name), why=str(converter.problems[0]))
        writer = open_writer(format, target, converter.schema, exporter)
        try:
            for values, draft in converter.converted_rows():
                writer.write(values, draft.images)
        except BaseException:
            with suppress(Exception):  # the first error is raised
                writer.close()
            raise
        writer.close()
        copied = not inside and exporter.copied_count > 0
        _move_into_place(target, out, staging / "images" if copied else None, images)
    except OSError as error:
        raise _unwritable_error(out, error) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    losses = converter.losses + _losses_of_format(format, converter.schema, converter.good_rows)
    rejects = out.with_name(f"{out.name}.rejects.jsonl") if converter.problems else None
    if rejects is not None:
        write_rejects(rejects, converter.problems)
    bad = len({problem.row for problem in converter.problems})
    return ConvertResult(
        out, images if copied else None, format, layout, converter.good_rows, bad, rejects, dict(losses)
    )


def _image_mode(requested: ImageMode, format: str) -> ImageMode:
    usual: dict[str, ImageMode] = {"imagefolder": "copy", **dict.fromkeys(_EMBEDDING_FORMATS, "embed")}
    return usual.get(format, requested) if requested == "auto" else requested


def _resolve_format_and_layout(request: ConvertRequest, detected: DetectedFormat) -> tuple[str, str]:
    format = request.format or FORMAT_BY_EXTENSION.get(format_extension(request.out))
    if format is None:
        hint = f"set --to: {', '.join(name for name in FORMATS if name != 'hub')}"
        raise UsageError("cannot infer the format from the output name", where=safe_line(str(request.out)), hint=hint)
    if format == "hub" or format not in FORMATS:
        raise UsageError(f"the format {format} cannot be written")
    layout = request.layout or _WRITTEN_AS.get(detected.layout, detected.layout)
    if layout not in WRITABLE_LAYOUTS:
        raise UsageError(f"the layout {layout!r} cannot be written", hint="layouts are " + ", ".join(WRITABLE_LAYOUTS))
    if layout == "openai" and format in _IMAGES_INSIDE_FORMATS:
        what = f"the format {FORMATS[format]} stores images separately; the openai layout embeds them in the text"
        raise UsageError(what, hint="choose --layout messages")
    if request.images == "embed" and format == "imagefolder":
        raise UsageError("an image folder stores images as files", hint="omit --images, or use copy or link")
    if request.images in ("link", "copy") and format == "webdataset":
        raise UsageError("WebDataset shards embed images", hint="omit --images")
    return format, layout


def _losses_of_format(format: str, schema: RowSchema, rows: int) -> Counter[str]:
    kinds = {name: kind for name, kind in schema.extra_fields.items() if kind not in ("text", "null")}
    losses: Counter[str] = Counter()
    for name, kind in kinds.items():
        if format == "csv":
            losses[f"the type of field {quote_text(name, limit=40)}: CSV stores text only"] = rows
        elif format in ("parquet", "arrow", "saved") and kind == "json":
            losses[f"the type of field {quote_text(name, limit=40)}: written as JSON text"] = rows
    return losses


def _require_output_free(out: Path, images: Path, force: bool) -> None:
    for path, replaceable in ((out, True), (images, False)):
        if not (path.exists() or path.is_symlink()):
            continue
        if path.is_dir() and not path.is_symlink():
            if any(path.iterdir()) or path == images:
                raise UsageError(
                    "the path is an existing folder", where=safe_line(str(path)), hint="choose another name"
                )
        elif not (force and replaceable):
            raise output_exists_error(path)


def _move_into_place(target: Path, out: Path, copies: Path | None, images: Path) -> None:
    if copies is not None:
        copies.rename(images)
    try:
        if out.is_dir() and not out.is_symlink():
            out.rmdir()
        os.replace(target, out)  # noqa: PTH105 - files and folders alike
    except OSError:
        if copies is not None:
            images.rename(copies)
        raise


def _unwritable_error(out: Path, error: OSError) -> EnvironmentProblem:
    where = safe_line(str(error.filename or out))
    return EnvironmentProblem("cannot write the dataset", where=where, why=safe_line(error.strerror or str(error)))
