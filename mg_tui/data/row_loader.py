"""Rows of a source as conversations with their images probed: the one way from a row to an `Example`.

Row -> `ExampleDraft` (fields read by the layout) -> image probes -> `Example` (system prompt added where none is).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Final

from mg_tui.core.example import Example
from mg_tui.data.embedded_images import EmbeddedImage, EmbeddedImageStore, ImageInput
from mg_tui.data.field_map import ExampleDraft
from mg_tui.data.image_info_cache import ImageInfoCache
from mg_tui.data.image_probe import ImageProbe, ProbeDepth, ProbeOutcome, probe_images
from mg_tui.data.image_resolver import ImageResolver
from mg_tui.data.images import ImageError, probe_image
from mg_tui.data.policy import ALLOW_ALL, ReadPolicy
from mg_tui.data.progress import Progress
from mg_tui.data.row_problems import RowProblem
from mg_tui.data.rows import Row
from mg_tui.data.sources.base import DetectedFormat, Source
from mg_tui.data.sources.detection import detect_format
from mg_tui.data.sources.layouts import to_draft

_BATCH_ROWS: Final = 1024


@dataclass(frozen=True, slots=True)
class LoadedRow:
    """One row with its images probed.

    Attributes:
        number: the row's number.
        example: its conversation; None when a field is wrong or an image cannot be used.
        problems: what is wrong with the row or its fields.
        images: each image as the row names it, and the outcome of its probe; empty when a field is wrong.
        image_field: the field that names them.
        is_row: False when the line could not be parsed as a row.
        unused_columns, text_markers: see `ExampleDraft`.
    """

    number: int
    example: Example | None
    problems: tuple[RowProblem, ...] = ()
    images: tuple[tuple[str, ProbeOutcome], ...] = ()
    image_field: str = "image"
    is_row: bool = True
    unused_columns: tuple[str, ...] = ()
    text_markers: tuple[str, ...] = ()

    @property
    def usable_images(self) -> list[ImageProbe]:
        """Probes of the images that can be used."""
        return [outcome for _name, outcome in self.images if isinstance(outcome, ImageProbe)]

    @property
    def image_errors(self) -> list[tuple[str, ImageError]]:
        """Images that cannot be used, as the row names them, with the reason."""
        return [(name, outcome) for name, outcome in self.images if isinstance(outcome, ImageError)]


@dataclass(frozen=True)
class ReadOptions:
    """How rows become conversations, and how their images are resolved and probed.

    Attributes:
        detected_format: format, layout and fields of the dataset; detected when None.
        image_root, cwd: where relative paths are looked up after the dataset's folder.
        cache: the garden's cache folder; None refuses URLs and embedded images.
        system_prompt: added as a system message to every conversation that has none.
        probe_depth: decode every image, read its header, or only require that the file exists.
        allow_private_urls, policy: see `ImageResolver`.
        workers: threads for images; all usable cores when None.
    """

    detected_format: DetectedFormat | None = None
    image_root: Path | None = None
    cwd: Path = field(default_factory=Path.cwd)
    cache: Path | None = None
    system_prompt: str | None = None
    probe_depth: ProbeDepth = "header"
    allow_private_urls: bool | None = None
    workers: int | None = None
    policy: ReadPolicy = ALLOW_ALL

    def make_resolver(self, base: Path) -> ImageResolver:
        """The resolver of a dataset whose relative paths are relative to `base`."""
        return ImageResolver(
            base,
            self.image_root,
            self.cwd,
            self.cache,
            allow_private_urls=self.allow_private_urls,
            policy=self.policy,
        )


class RowLoader:
    """Reads rows as conversations and probes each of their images once.

    Args:
        source: the dataset.
        options: how it is read.
        keep_raw: problems of rows have the row as text, see `RowProblem.raw`.

    Raises:
        DataError: from the constructor, when the format has to be detected and the source cannot be read.
        EnvironmentProblem: from every method, when the cache folder cannot be written.
    """

    def __init__(self, source: Source, options: ReadOptions, *, keep_raw: bool = False):
        self._source = source
        self._options = options
        self._keep_raw = keep_raw
        self.detected_format = options.detected_format or detect_format(source)
        self._resolver = options.make_resolver(source.base)
        self._store = EmbeddedImageStore(options.cache)
        self._info_cache: ImageInfoCache | None = None  # opened for the first image; drafts need none
        self._outcomes: dict[ImageInput, ProbeOutcome] = {}

    def read_draft(self, row: Row) -> ExampleDraft | list[RowProblem]:
        """A row's conversation before its images are probed, or every problem with its fields."""
        return to_draft(row, self.detected_format.layout, self.detected_format.fields, self._store)

    def load(self, rows: Iterable[Row], progress: Progress | None = None) -> list[LoadedRow]:
        """The rows in order, with their images probed. Values of rows, embedded images too, are not retained.

        Args:
            progress: called with (distinct images done, all of them).
        """
        drafts = [self._read(row) for row in rows]
        self.probe((draft for draft in drafts if isinstance(draft, ExampleDraft)), progress)
        return [self.finish(draft) if isinstance(draft, ExampleDraft) else draft for draft in drafts]

    def _read(self, row: Row) -> ExampleDraft | LoadedRow:
        draft = self.read_draft(row)
        if isinstance(draft, ExampleDraft):
            return draft
        if self._keep_raw and row.values is not None:
            raw = self._source.raw(row)
            draft = [replace(problem, raw=problem.raw or raw) for problem in draft]
        return LoadedRow(row.number, None, tuple(draft), is_row=row.values is not None)

    def probe(self, drafts: Iterable[ExampleDraft], progress: Progress | None = None) -> None:
        """Probe the images of drafts in parallel; `progress` is called with (distinct images done, all of them)."""
        if self._info_cache is None:
            self._info_cache = ImageInfoCache(self._options.cache)
        new = (image for draft in drafts for image in draft.images if image not in self._outcomes)
        options = self._options
        self._outcomes.update(
            probe_images(
                new,
                self._resolver,
                options.probe_depth,
                workers=options.workers,
                progress=progress,
                info_cache=self._info_cache,
            )
        )

    def finish(self, draft: ExampleDraft) -> LoadedRow:
        """The row of a draft whose images have been probed."""
        images = tuple((_original_name(image), self._outcomes[image]) for image in draft.images)
        refs = [outcome.resolved.ref for _name, outcome in images if isinstance(outcome, ImageProbe)]
        usable = len(refs) == len(images)
        example = None
        if usable:
            sizes = [_image_size(outcome) for _name, outcome in images] if draft.objects else None
            example = draft.to_example(refs, self._options.system_prompt, sizes)
        return LoadedRow(
            draft.row,
            example,
            (),
            images,
            draft.image_field,
            unused_columns=draft.unused_columns,
            text_markers=draft.text_markers,
        )

    def close(self) -> None:
        """Write the image info cache and close it."""
        if self._info_cache is not None:
            self._info_cache.close()


def load_rows(source: Source, options: ReadOptions, *, progress: Progress | None = None) -> Iterator[list[LoadedRow]]:
    """Rows with their images probed, in batches of 1,024, in order.

    Args:
        progress: called after each batch with (bytes, bytes in total) of an uncompressed JSON Lines file, else with
            (rows, rows in total); the total is 0 where it is unknown.

    Raises:
        DataError: the source cannot be read.
        EnvironmentProblem: the cache folder cannot be written.
    """
    loader = RowLoader(source, options)
    try:
        yield from load_batches(source, loader, source.rows(), progress)
    finally:
        loader.close()


def load_batches(
    source: Source, loader: RowLoader, rows: Iterator[Row], progress: Progress | None = None
) -> Iterator[list[LoadedRow]]:
    """The remaining `rows` of a source; see `load_rows`."""
    in_bytes = _is_measured_in_bytes(source)
    total = source.path.stat().st_size if in_bytes and source.path is not None else source.count() or 0
    done = 0

    def counted(some: Iterable[Row]) -> Iterator[Row]:
        nonlocal done
        for row in some:
            done = row.offset + row.length if in_bytes else row.number
            yield row

    while loaded := loader.load(counted(islice(rows, _BATCH_ROWS))):
        if progress is not None:
            progress(done, total)
        yield loaded


def _image_size(probe: ProbeOutcome) -> tuple[int, int]:
    """Width and height of an image that can be used, in pixels.

    Raises:
        ImageError: it was not opened before, and cannot be.
    """
    assert isinstance(probe, ImageProbe)
    info = probe.info or probe_image(probe.resolved.ref.path)
    return info.width, info.height


def _original_name(image: ImageInput) -> str:
    return image.original if isinstance(image, EmbeddedImage) else image


def _is_measured_in_bytes(source: Source) -> bool:
    """Whether reading it is measured in bytes: counting the rows would read the file."""
    path = source.path
    return source.format == "jsonl" and path is not None and source.has_offsets
