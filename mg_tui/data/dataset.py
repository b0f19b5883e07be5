"""Loads a dataset as examples and problems: every row is in one or the other.

Rows are read first; then each distinct image is resolved and probed once, in parallel; then examples are built in the
order of the file. A large dataset is read in batches, and its examples are written to the cache
(`mg_tui.data.dataset_cache`), from which a second process reads them.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from mg_tui.core.errors import DataError
from mg_tui.data.dataset_cache import DatasetCache, DatasetRecorder
from mg_tui.data.field_map import FieldMap
from mg_tui.data.image_probe import ProbeDepth
from mg_tui.data.loaded_dataset import MIN_TABLE_ROWS, Dataset, LoadedPart, RowCounter
from mg_tui.data.policy import ALLOW_ALL, ReadPolicy
from mg_tui.data.progress import Progress
from mg_tui.data.row_loader import ReadOptions, RowLoader, load_batches
from mg_tui.data.row_problems import BadRows, RowProblem, safe_line, write_rejects
from mg_tui.data.sources.base import Source
from mg_tui.data.sources.detection import detect_format
from mg_tui.data.sources.opener import open_source

__all__ = [
    "Dataset",
    "FieldMap",
    "LoadedPart",
    "RowProblem",
    "load_dataset",
    "require_examples",
    "require_no_bad_rows",
    "write_rejects",
]


def load_dataset(
    path: str | Path,
    fields: FieldMap | None = None,
    *,
    image_root: Path | None = None,
    system_prompt: str | None = None,
    cwd: Path | None = None,
    cache: Path | None = None,
    check_images: ProbeDepth = "decode",
    progress: Progress | None = None,
    allow_private_urls: bool | None = None,
    workers: int | None = None,
    format: str | None = None,
    layout: str | None = None,
    split: str | None = None,
    config: str | None = None,
    policy: ReadPolicy = ALLOW_ALL,
    source: Source | None = None,
    repeats: Iterator[int] | None = None,
    encoding: str | None = None,
    json_field: str | None = None,
) -> Dataset:
    """Read a dataset of any format and layout, and check every row and every image.

    Args:
        path: a file or folder, relative to `cwd`, or a Hub name: see `open_source`.
        fields: names of the fields, where they differ from the defaults.
        image_root: where relative image paths are looked up after the dataset's folder.
        system_prompt: added as a system message to every conversation that has none.
        cwd: where relative image paths are looked up last; the working directory when None.
        cache: the garden's cache folder, for downloaded and embedded images. None refuses both.
        check_images: "decode" every image, read its "header", or "none": only require that the file exists.
        progress: called from this thread with (images done, images); for a large dataset as `load_rows` does.
        allow_private_urls: see `ImageResolver`.
        workers: threads; all usable cores when None.
        format, layout: of the dataset; detected when None.
        split, config, encoding, json_field: see `open_source`.
        policy: where files may be read from.
        source: the dataset, already open; `format`, `split` and `config` are ignored then.
        repeats: how often each row is taken, bad ones included; rows that are not taken are not read further.

    Raises:
        DataError: the dataset is missing, empty or unreadable, or two purposes share a field. Bad rows raise nothing;
            they are in `problems` (see `require_no_bad_rows`).
        EnvironmentProblem: the cache folder cannot be written, or the Hub cannot be reached.
    """
    fields = fields or FieldMap()
    fields.require_distinct()
    cwd = Path.cwd() if cwd is None else cwd
    if source is None:
        source = open_source(
            str(path),
            cwd=cwd,
            cache=cache,
            format=format,
            split=split,
            config=config,
            policy=policy,
            encoding=encoding,
            json_field=json_field,
        )
    options = ReadOptions(
        detected_format=detect_format(source, fields, layout),
        image_root=image_root,
        cwd=cwd,
        cache=cache,
        system_prompt=system_prompt,
        probe_depth=check_images,
        allow_private_urls=allow_private_urls,
        workers=workers,
        policy=policy,
    )
    return _load(source, options, progress, repeats)


def _load(
    source: Source, options: ReadOptions, progress: Progress | None, repeats: Iterator[int] | None = None
) -> Dataset:
    cache = DatasetCache.of(source, options) if repeats is None else None
    if cache is not None and (cached := cache.open()) is not None:
        return cached
    loader = RowLoader(source, options, keep_raw=True)
    counter = RowCounter(repeats)
    try:
        with DatasetRecorder(source, cache, counter) as recorder:
            rows = counter.taken(source.rows())
            # A small dataset is read first, so that the progress of its images is known.
            recorder.add(loader.load(islice(rows, MIN_TABLE_ROWS), progress))
            for batch in load_batches(source, loader, rows, progress):
                recorder.add(batch)
            return recorder.finish(loader.detected_format)
    finally:
        loader.close()


def require_no_bad_rows(dataset: Dataset) -> None:
    """Raises BadRows, a DataError that lists the bad rows, when there are any."""
    if dataset.problems:
        raise BadRows(dataset.problems, where=safe_line(str(dataset.path)), examples=len(dataset.examples))


def require_examples(dataset: Dataset) -> None:
    """Raises DataError when no row can be trained on."""
    if not dataset.examples:
        first = dataset.problems[0] if dataset.problems else None
        raise DataError(
            f"none of the {len(dataset.bad_rows):,} rows can be trained on",
            where=safe_line(str(dataset.path)),
            why=str(first) if first else None,
            hint=first.hint if first else None,
        )
