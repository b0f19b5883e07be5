"""A dataset as examples and problems: every row is in one or the other.

Rows are read first; then each distinct image is resolved and probed once, in parallel; then examples are built in the
order of the file.
"""

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mg_tui.core.errors import DataError
from mg_tui.core.example import Example
from mg_tui.data.field_map import ExampleDraft, FieldMap
from mg_tui.data.image_probe import ProbeDepth
from mg_tui.data.images import ImageInfo
from mg_tui.data.policy import ALLOW_ALL, ReadPolicy
from mg_tui.data.progress import Progress
from mg_tui.data.row_loader import LoadedRow, ReadOptions, RowLoader
from mg_tui.data.row_problems import BadRows, RowProblem, quote_text, safe_line, write_rejects
from mg_tui.data.sources.base import DetectedFormat, Source
from mg_tui.data.sources.detection import detect_format
from mg_tui.data.sources.opener import open_source

__all__ = [
    "Dataset",
    "FieldMap",
    "RowProblem",
    "load_dataset",
    "require_examples",
    "require_no_bad_rows",
    "write_rejects",
]


@dataclass(frozen=True, slots=True)
class LoadedPart:
    """One of several datasets that were put together.

    Attributes:
        name: as the user wrote it, without the weight.
        weight: how often its rows are taken.
        first, last: the numbers of its first and last row in the whole.
        examples, trained: its rows that can be trained on, and the examples they make in an epoch.
        address: a name that is valid in every working directory.
        detected_format: its format, layout and fields.
    """

    name: str
    weight: float
    first: int
    last: int
    examples: int
    trained: int
    address: str
    detected_format: DetectedFormat | None


@dataclass(frozen=True, slots=True)
class Dataset:
    """The content of a dataset.

    Attributes:
        path: the file or folder, or the name of a Hub dataset.
        examples: the rows that can be trained on, in the order of the file.
        problems: every reason why a row is not among them, by row; a row may have several.
        image_locations: uses of images by where the image was found (an `ImageLocation`).
        image_infos: size and format of each image by its path; empty when images were not opened.
        notes: remarks on good rows, by row, e.g. that only the first frame of an animation is used.
        detected_format: its format, layout and fields.
        address: a name of the dataset that is valid in every working directory.
        unused_columns: columns with a value that were not read, with the number of rows.
        text_markers: placeholders of other tools that were left as text, with the number of rows.
        last_row: the number of its last row.
        copies: how often each example is trained on in an epoch, parallel to `examples`; empty when each is once.
        parts: the datasets that it was put together from; empty for one dataset.
    """

    path: Path
    examples: tuple[Example, ...]
    problems: tuple[RowProblem, ...]
    image_locations: Mapping[str, int] = field(default_factory=dict)
    image_infos: Mapping[str, ImageInfo] = field(default_factory=dict)
    notes: tuple[RowProblem, ...] = ()
    detected_format: DetectedFormat | None = None
    address: str = ""
    unused_columns: Mapping[str, int] = field(default_factory=dict)
    text_markers: Mapping[str, int] = field(default_factory=dict)
    last_row: int = 0
    copies: Sequence[int] = ()
    parts: tuple["LoadedPart", ...] = ()

    def repeat(self, examples: Sequence[Example]) -> tuple[Example, ...]:
        """Some of the dataset's examples, each as often as it is trained on, copies one after another."""
        if not self.copies:
            return tuple(examples)
        copies = {example.row: count for example, count in zip(self.examples, self.copies, strict=True)}
        return tuple(example for example in examples for _copy in range(copies[example.row]))

    def origin_of(self, row: int) -> str | None:
        """The row's number and dataset where several were put together, e.g. "row 3 of b.jsonl"; None otherwise."""
        part = next((part for part in self.parts if part.first <= row <= part.last), None)
        return f"row {row - part.first + 1:,} of {safe_line(part.name, limit=80)}" if part is not None else None

    def with_origins(self, problems: Sequence[RowProblem]) -> tuple[RowProblem, ...]:
        """The problems of rows, each with the origin of its row."""
        if not self.parts:
            return tuple(problems)
        return tuple(replace(problem, origin=self.origin_of(problem.row)) for problem in problems)

    @property
    def bad_rows(self) -> tuple[int, ...]:
        """Numbers of the rows that cannot be trained on."""
        return tuple(sorted({problem.row for problem in self.problems}))

    def format_image_locations(self) -> str:
        """ "12 from the dataset's folder, 3 from the image root"; empty when there are no images."""
        return ", ".join(
            f"{count:,} from {_LOCATION_TEXTS[location]}" for location, count in self.image_locations.items()
        )


_LOCATION_TEXTS = {
    "dataset folder": "the dataset's folder",
    "image root": "the image root",
    "working folder": "the working folder",
    "absolute path": "absolute paths",
    "address": "addresses",
    "row": "embedded in rows",
}


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
        progress: called from this thread with (images done, images).
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
    loader = RowLoader(source, options)
    try:
        drafts, problems, copies, last_row = _read_drafts(source, loader, repeats)
        loader.probe(drafts, progress)
        rows = [loader.finish(draft) for draft in drafts]
    finally:
        loader.close()
    image_problems = [problem for row in rows for problem in _image_problems(row)]
    good_rows = [row for row in rows if row.example is not None]
    probes = [probe for row in good_rows for probe in row.usable_images]
    problems += _attach_raw_text(source, image_problems)
    return Dataset(
        path=source.path or Path(source.name),
        examples=tuple(row.example for row in good_rows if row.example is not None),
        problems=tuple(sorted(problems, key=lambda problem: problem.row)),
        image_locations=dict(Counter(str(probe.resolved.location) for probe in probes)),
        image_infos={probe.resolved.ref.path: probe.info for probe in probes if probe.info is not None},
        notes=tuple(note for row in good_rows for note in _image_notes(row)),
        detected_format=loader.detected_format,
        address=source.address,
        unused_columns=dict(Counter(name for row in good_rows for name in row.unused_columns)),
        text_markers=dict(Counter(marker for row in good_rows for marker in row.text_markers)),
        last_row=last_row,
        copies=array("H", (copies[row.number] for row in good_rows)) if copies else (),
    )


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


def _read_drafts(
    source: Source, loader: RowLoader, repeats: Iterator[int] | None
) -> tuple[list[ExampleDraft], list[RowProblem], dict[int, int], int]:
    """Drafts of all rows, problems of those without one, how often each row is taken where that is not once, and the
    number of the last row. Values of rows, embedded images too, are not retained."""
    drafts: list[ExampleDraft] = []
    problems: list[RowProblem] = []
    copies: dict[int, int] = {}
    last_row = 0
    for row in source.rows():
        last_row = row.number
        if repeats is not None:
            times = next(repeats)
            if not times:
                continue
            copies[row.number] = times
        draft = loader.read_draft(row)
        if isinstance(draft, ExampleDraft):
            drafts.append(draft)
        else:
            raw = "" if row.values is None else source.raw(row)
            problems.extend(replace(problem, raw=problem.raw or raw) for problem in draft)
    return drafts, problems, copies, last_row


def _attach_raw_text(source: Source, problems: list[RowProblem]) -> list[RowProblem]:
    """The problems with the text of their rows, which are read again: rows with bad images are expected to be few."""
    numbers = {problem.row for problem in problems}
    texts: dict[int, str] = {}
    if numbers:
        for row in source.rows(min(numbers)):
            if row.number in numbers:
                texts[row.number] = source.raw(row)
            if len(texts) == len(numbers):
                break
    return [replace(problem, raw=texts.get(problem.row, "")) for problem in problems]


def _image_problems(row: LoadedRow) -> list[RowProblem]:
    return [
        RowProblem(row.number, row.image_field, f"{quote_text(name)} {error.reason}", error.hint)
        for name, error in row.image_errors
    ]


def _image_notes(row: LoadedRow) -> list[RowProblem]:
    return [
        RowProblem(
            row.number,
            row.image_field,
            f"{quote_text(name)} has several frames or pages; only the first is used",
        )
        for (name, _outcome), probe in zip(row.images, row.usable_images, strict=True)
        if probe.info is not None and probe.info.animated
    ]
