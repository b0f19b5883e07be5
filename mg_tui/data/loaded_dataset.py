"""A dataset as examples and problems, collected row by row."""

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from mg_tui.core.example import Example
from mg_tui.data.example_table import ExampleTableWriter
from mg_tui.data.image_resolver import ResolvedImage
from mg_tui.data.images import ImageInfo
from mg_tui.data.row_loader import LoadedRow
from mg_tui.data.row_problems import RowProblem, quote_text, safe_line
from mg_tui.data.rows import Row
from mg_tui.data.sources.base import DetectedFormat, Source

# Examples of smaller datasets stay in memory: reading them takes less than a second.
MIN_TABLE_ROWS: Final = 10_000


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
        content: a digest of the rows and the images' sizes and modification times, under which results about them can
            be cached; None where the rows were not.
    """

    path: Path
    examples: Sequence[Example]
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
    content: str | None = None

    def sources(self, rows: "array[int]") -> list[tuple[str, range, bool]]:
        """The address of each dataset, where its examples are among all, and whether all of its rows are.

        `rows` are the numbers of all examples, in order.
        """
        if not self.parts:
            return [(self.address, range(len(rows)), True)]
        return [
            (part.address, range(bisect_left(rows, part.first), bisect_right(rows, part.last)), part.weight >= 1)
            for part in self.parts
        ]

    def repeat(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Some of the dataset's examples, each as often as it is trained on, copies one after another."""
        if not self.copies:
            return examples
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


class RowCounter:
    """Counts the rows of a dataset as they are read, and how often each is taken.

    Args:
        repeats: how often each row is taken, bad ones included; None takes each once.
    """

    def __init__(self, repeats: Iterator[int] | None = None):
        self.last_row = 0
        self.copies: dict[int, int] = {}  # by row, where `repeats` says them
        self._repeats = repeats

    def taken(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows that are taken at least once."""
        for row in rows:
            self.last_row = row.number
            if self._repeats is not None:
                times = next(self._repeats)
                if not times:
                    continue
                self.copies[row.number] = times
            yield row


class DatasetBuilder:
    """Collects rows whose images were probed.

    Args:
        source: the dataset.
        counter: has counted its rows when `build` is called.
        open_writer: makes the writer of a table once there are `MIN_TABLE_ROWS` examples; None keeps them in memory.
    """

    def __init__(
        self, source: Source, counter: RowCounter, open_writer: Callable[[], ExampleTableWriter | None] | None = None
    ):
        self.source = source
        self._counter = counter
        self.writer: ExampleTableWriter | None = None
        self.images: dict[str, ResolvedImage] = {}  # by path
        self.has_image_errors = False
        self._open_writer = open_writer
        self._examples: list[Example] = []
        self._problems: list[RowProblem] = []
        self._image_locations: Counter[str] = Counter()
        self._image_infos: dict[str, ImageInfo] = {}
        self._notes: list[RowProblem] = []
        self._unused: Counter[str] = Counter()
        self._markers: Counter[str] = Counter()

    def add(self, row: LoadedRow) -> None:
        """Add the next row."""
        if row.example is None:
            problems = _image_problems(row)
            self.has_image_errors = self.has_image_errors or bool(problems)
            self._problems += [*row.problems, *problems]
            return
        if self.writer is not None:
            self.writer.add(row.example)
        else:
            self._examples.append(row.example)
            if len(self._examples) >= MIN_TABLE_ROWS and self._open_writer is not None:
                self._spill()
        for probe in row.usable_images:
            path = probe.resolved.ref.path
            self._image_locations[probe.resolved.location] += 1
            if path not in self.images:
                self.images[path] = probe.resolved
                if probe.info is not None:
                    self._image_infos[path] = probe.info
        if row.images:
            self._notes += _image_notes(row)
        if row.unused_columns:
            self._unused.update(row.unused_columns)
        if row.text_markers:
            self._markers.update(row.text_markers)

    def _spill(self) -> None:
        assert self._open_writer is not None
        self.writer = self._open_writer()
        self._open_writer = None
        if self.writer is not None:
            for example in self._examples:
                self.writer.add(example)
            self._examples = []

    def build(self, detected_format: DetectedFormat, examples: Sequence[Example] | None = None) -> Dataset:
        """The dataset; `examples` are those that the writer wrote."""
        problems = _attach_raw_text(self.source, self._problems)
        examples = tuple(self._examples) if examples is None else examples
        copies = self._counter.copies
        return Dataset(
            path=self.source.path or Path(self.source.name),
            examples=examples,
            problems=tuple(sorted(problems, key=lambda problem: problem.row)),
            image_locations=dict(self._image_locations),
            image_infos=self._image_infos,
            notes=tuple(self._notes),
            detected_format=detected_format,
            address=self.source.address,
            unused_columns=dict(self._unused),
            text_markers=dict(self._markers),
            last_row=self._counter.last_row,
            copies=array("H", (copies[example.row] for example in examples)) if copies else (),
        )


def _attach_raw_text(source: Source, problems: list[RowProblem]) -> list[RowProblem]:
    """The problems with the text of their rows, which are read again: bad rows are expected to be few."""
    numbers = {problem.row for problem in problems if not problem.raw}
    texts: dict[int, str] = {}
    if numbers:
        for row in source.rows(min(numbers)):
            if row.number in numbers:
                texts[row.number] = source.raw(row)
            if len(texts) == len(numbers):
                break
    return [replace(problem, raw=problem.raw or texts.get(problem.row, "")) for problem in problems]


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
