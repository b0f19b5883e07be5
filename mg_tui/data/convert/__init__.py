"""From one format and layout to another, without loss of what both can hold; what one cannot hold is said.

Every row is looked at first, so that nothing is written when a row cannot be, and so that columns are known. Then
everything is written under another name and moved into place at the end.
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


@dataclass(frozen=True, slots=True)
class ConvertRequest:
    """What is to be made, and how.

    Attributes:
        out: the file or folder to make.
        format: a key of `IMAGE_FORMATS` but "hub"; told from the name of `out` when None.
        layout: a key of `WRITABLE_LAYOUTS`; the one of the source, as near as there is, when None.
        images: how images go along: "auto" is what is usual in the format.
        skip: leave rows out that cannot be read or written, and keep them in a file beside `out`.
        force: replace a file that is there.
    """

    out: Path
    format: str | None = None
    layout: str | None = None
    images: ImageMode = "auto"
    skip_bad_rows: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class ConvertResult:
    """What was made.

    Attributes:
        out, images: the dataset, and the folder of copied images if there is one beside it.
        format, layout: what it was written as.
        rows, left_out: rows written, and rows that could not be.
        rejects: the file of those rows.
        lost: what of the written rows was lost, in words, with the number of rows.
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
    recognised: DetectedFormat,
    asked: ConvertRequest,
    *,
    cache: Path | None,
    resolver: ImageResolver,
    progress: Callable[[int], None] | None = None,
) -> ConvertResult:
    """Write a dataset in another format or layout.

    Args:
        source, recognised: what is read; see `mg_tui.data.from_spec.open_source_from_spec`.
        cache: the garden's cache folder.
        resolver: finds the images of `source`.
        progress: called with rows done, of twice as many as there are.

    Raises:
        UsageError: what is asked cannot be made, or something is in the way.
        DataError: the source cannot be read, or has rows that cannot be converted (`BadRows`).
        EnvironmentProblem: it cannot be written.
    """
    format, layout = _resolve_format_and_layout(asked, recognised)
    out = asked.out.expanduser().absolute()
    images = out.with_name(f"{out.name.split('.')[0]}_images")
    _require_output_free(out, images, asked.force)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        workshop = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise _unwritable_error(out, error) from None
    target = workshop / out.name
    inside = format == "imagefolder"
    exporter = ImageExporter(
        _image_mode(asked.images, format),
        resolver,
        out.parent,
        target if inside else workshop / "images",
        "" if inside else images.name,
    )
    reading = RowConverter(source, recognised, layout, EmbeddedImageStore(cache), exporter, progress)
    try:
        reading.scan()
        if reading.problems and not asked.skip_bad_rows:
            raise BadRows(reading.problems, where=safe_line(source.name), examples=reading.good_rows)
        if not reading.good_rows:
            raise DataError("no row can be converted", where=safe_line(source.name), why=str(reading.problems[0]))
        writer = open_writer(format, target, reading.schema, exporter)
        try:
            for values, draft in reading.converted_rows():
                writer.write(values, draft.images)
        except BaseException:
            with suppress(Exception):  # what went wrong is already known
                writer.close()
            raise
        writer.close()
        copied = not inside and exporter.copied_count > 0
        _move_into_place(target, out, workshop / "images" if copied else None, images)
    except OSError as error:
        raise _unwritable_error(out, error) from None
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    lost = reading.losses + _losses_of_format(format, reading.schema, reading.good_rows)
    rejects = out.with_name(f"{out.name}.rejects.jsonl") if reading.problems else None
    if rejects is not None:
        write_rejects(rejects, reading.problems)
    bad = len({problem.row for problem in reading.problems})
    return ConvertResult(out, images if copied else None, format, layout, reading.good_rows, bad, rejects, dict(lost))


def _image_mode(asked: ImageMode, format: str) -> ImageMode:
    usual: dict[str, ImageMode] = {"imagefolder": "copy", **dict.fromkeys(_EMBEDDING_FORMATS, "embed")}
    return usual.get(format, asked) if asked == "auto" else asked


def _resolve_format_and_layout(asked: ConvertRequest, recognised: DetectedFormat) -> tuple[str, str]:
    format = asked.format or FORMAT_BY_EXTENSION.get(format_extension(asked.out))
    if format is None:
        hint = f"set --to: {', '.join(name for name in FORMATS if name != 'hub')}"
        raise UsageError("cannot infer the format from the output name", where=safe_line(str(asked.out)), hint=hint)
    if format == "hub" or format not in FORMATS:
        raise UsageError(f"the format {format} cannot be written")
    layout = asked.layout or {"vqa": "fields"}.get(recognised.layout, recognised.layout)
    if layout not in WRITABLE_LAYOUTS:
        raise UsageError(f"the layout {layout!r} cannot be written", hint="layouts are " + ", ".join(WRITABLE_LAYOUTS))
    if layout == "openai" and format in _IMAGES_INSIDE_FORMATS:
        what = f"the format {FORMATS[format]} stores images separately; the openai layout embeds them in the text"
        raise UsageError(what, hint="choose --layout messages")
    if asked.images == "embed" and format == "imagefolder":
        raise UsageError("an image folder stores images as files", hint="omit --images, or use copy or link")
    if asked.images in ("link", "copy") and format == "webdataset":
        raise UsageError("WebDataset shards embed images", hint="omit --images")
    return format, layout


def _losses_of_format(format: str, facts: RowSchema, rows: int) -> Counter[str]:
    kinds = {name: kind for name, kind in facts.extra_fields.items() if kind not in ("text", "null")}
    lost: Counter[str] = Counter()
    for name, kind in kinds.items():
        if format == "csv":
            lost[f"the type of field {quote_text(name, limit=40)}: CSV stores text only"] = rows
        elif format in ("parquet", "arrow", "saved") and kind == "json":
            lost[f"the type of field {quote_text(name, limit=40)}: written as JSON text"] = rows
    return lost


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
            hint = "choose another name, or overwrite it with --force"
            raise UsageError("the output already exists", where=safe_line(str(path)), hint=hint)


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
