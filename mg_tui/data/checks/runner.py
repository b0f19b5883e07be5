"""The check: every row read, every image looked at, every rule applied, in bounded memory and as often as one likes.

Rows are taken in portions. While one is being counted by the model's tokenizer, in processes of its own, the next is
read and its images are opened by threads. What was seen in images and counted in texts is kept in the cache by what
they contain (`mg_tui.data.image_info_cache`, `mg_tui.data.token_count_cache`), so that a second check costs what reading costs.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mg_tui.data.checks.answers import AnswerCheck
from mg_tui.data.checks.base import Check, LoadedRow
from mg_tui.data.checks.duplicates import DuplicateImageCheck, DuplicateRowCheck
from mg_tui.data.checks.fields import FieldCheck
from mg_tui.data.checks.findings import CheckReport, FindingCollector
from mg_tui.data.checks.images import ImageCheck
from mg_tui.data.checks.lengths import ImageTokenCounter, LengthCheck, TextTokenCounter, TextTokenCounts
from mg_tui.data.checks.overlap import ContentIndex, OverlapCheck
from mg_tui.data.embedded_images import EmbeddedImage, EmbeddedImageStore, ImageInput
from mg_tui.data.field_map import ExampleDraft
from mg_tui.data.image_info_cache import ImageInfoCache
from mg_tui.data.image_probe import ImageProbe, ProbeDepth, ProbeOutcome, probe_images
from mg_tui.data.image_resolver import ImageResolver
from mg_tui.data.line_index import is_compressed
from mg_tui.data.policy import ALLOW_ALL, ReadPolicy
from mg_tui.data.row_problems import RowProblem
from mg_tui.data.rows import Row
from mg_tui.data.sources.layouts import to_draft

if TYPE_CHECKING:
    from mg_tui.data.sources.base import DetectedFormat, Source

# (done, of how many): bytes of a text file, rows of anything else; 0 where the whole is not known.
Progress = Callable[[int, int], None]
Stop = Callable[[], bool]

_ROWS_PER_BATCH: Final = 1024  # rows


@dataclass(frozen=True)
class ReadOptions:
    """How rows become conversations, and how their images are found and looked at.

    Attributes:
        recognised: what the dataset is taken for; what the source takes it for when left out.
        image_root, cwd: where relative paths are looked up after the dataset's folder.
        cache: the garden's cache folder.
        system_prompt: put before every conversation that has none.
        depth: decode every image, read its header, or only see that it is there.
        allow_private_urls, policy: see `ImageResolver`.
        workers: threads for images; all usable cores when left out.
    """

    detected_format: "DetectedFormat | None" = None
    image_root: Path | None = None
    cwd: Path = field(default_factory=Path.cwd)
    cache: Path | None = None
    system_prompt: str | None = None
    probe_depth: ProbeDepth = "header"
    allow_private_urls: bool | None = None
    workers: int | None = None
    policy: ReadPolicy = ALLOW_ALL

    def make_resolver(self, base: Path) -> ImageResolver:
        """Finds the images of a dataset whose relative paths are seen from `base`."""
        return ImageResolver(
            base,
            self.image_root,
            self.cwd,
            self.cache,
            allow_private_urls=self.allow_private_urls,
            policy=self.policy,
        )


@dataclass(frozen=True)
class CheckLimits:
    """What rows are held against.

    Attributes:
        max_length: the most tokens of a row.
        min_pixels, max_pixels: between which images are brought.
        counter: counts the tokens of text; None leaves lengths unjudged.
        image_tokens: see `LengthCheck`.
        lanes: portions counted at a time.
    """

    max_length: int
    min_pixels: int
    max_pixels: int
    token_counter: TextTokenCounter | None = None
    count_image_tokens: ImageTokenCounter | None = None
    parallel_batches: int = 1


def run_checks(
    source: "Source",
    reading: ReadOptions,
    limits: CheckLimits,
    *,
    evaluation: "tuple[Source, ReadOptions] | None" = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> CheckReport:
    """Check a dataset.

    Args:
        evaluation: a dataset that shall have no row and no image in common with it, and how it is read.
        progress: called from this thread a few times a second.
        stop: asked between portions; true ends the check early, with a report that says so.

    Raises:
        DataError: the dataset, or the evaluation dataset, cannot be read at all.
        EnvironmentProblem: the cache cannot be written, or a hub cannot be reached.
    """
    contents = None
    if evaluation is not None:
        contents = ContentIndex()
        for portion in load_rows(*evaluation):
            for judged in portion:
                contents.add(judged)
    return check_loaded_rows(
        load_rows(source, reading, progress=progress),
        limits,
        name=source.name,
        path=source.path,
        evaluation=contents,
        stop=stop,
    )


def load_rows(source: "Source", reading: ReadOptions, *, progress: Progress | None = None) -> Iterator[list[LoadedRow]]:
    """Rows with their images looked at, in portions, in order."""
    judge = RowLoader(source, reading)
    total = _progress_total(source)
    rows = source.rows()
    try:
        while portion := list(islice(rows, _ROWS_PER_BATCH)):
            judged = judge(portion)
            if progress is not None:
                last = portion[-1]
                progress(last.offset + last.length if last.length else last.number, total)
            yield judged
    finally:
        judge.close()


class RowLoader:
    """Reads rows as conversations and looks at their images, each once."""

    def __init__(self, source: "Source", reading: ReadOptions):
        self._reading = reading
        self.detected_format = reading.detected_format or source.detected_format
        self._resolver = reading.make_resolver(source.base)
        self._store, self._looks = EmbeddedImageStore(reading.cache), ImageInfoCache(reading.cache)
        self._seen: dict[ImageInput, ProbeOutcome] = {}

    def read_draft(self, row: Row) -> ExampleDraft | list[RowProblem]:
        """A row's conversation, its images not looked at."""
        return to_draft(row, self.detected_format.layout, self.detected_format.fields, self._store)

    def __call__(self, rows: Sequence[Row]) -> list[LoadedRow]:
        drafts = [(row, self.read_draft(row)) for row in rows]
        given = (one for _row, draft in drafts if isinstance(draft, ExampleDraft) for one in draft.images)
        new = [one for one in given if one not in self._seen]
        reading = self._reading
        found = probe_images(new, self._resolver, reading.probe_depth, workers=reading.workers, looks=self._looks)
        self._seen.update(found)
        return [_to_loaded_row(row.number, row.values is not None, draft, self._seen, reading) for row, draft in drafts]

    def close(self) -> None:
        """Keep what was seen."""
        self._looks.close()


def _progress_total(source: "Source") -> int:
    if source.format == "jsonl" and source.path is not None and source.path.is_file():
        return 0 if is_compressed(source.path) else source.path.stat().st_size
    return source.count() or 0


def _to_loaded_row(
    number: int,
    readable: bool,
    draft: ExampleDraft | list[RowProblem],
    seen: dict[ImageInput, ProbeOutcome],
    reading: ReadOptions,
) -> LoadedRow:
    if not isinstance(draft, ExampleDraft):
        return LoadedRow(number, None, tuple(draft), is_row=readable)
    images = tuple(
        (given.original if isinstance(given, EmbeddedImage) else given, seen[given]) for given in draft.images
    )
    found = [outcome for _given, outcome in images if isinstance(outcome, ImageProbe)]
    if len(found) < len(images):
        return LoadedRow(number, None, (), images, draft.image_field)
    example = draft.to_example([one.resolved.ref for one in found], reading.system_prompt)
    return LoadedRow(number, example, (), images, draft.image_field)


def check_loaded_rows(
    portions: Iterable[Sequence[LoadedRow]],
    limits: CheckLimits,
    *,
    name: str,
    path: Path | None = None,
    evaluation: ContentIndex | None = None,
    stop: Stop | None = None,
    lengths_only: bool = False,
) -> CheckReport:
    """As `run_checks`, of rows that were read already; `lengths_only` leaves out what cannot stop a run."""
    began = time.monotonic()
    run = _CheckRun(limits, evaluation, lengths_only=lengths_only)
    complete = True
    pool = ThreadPoolExecutor(max(limits.parallel_batches, 1), thread_name_prefix="counting")
    try:
        counted: deque[tuple[Sequence[LoadedRow], Future[list[TextTokenCounts]] | None]] = deque()
        for portion in portions:
            examples = [judged.example for judged in portion if judged.example is not None]
            future = pool.submit(limits.token_counter.count, examples) if limits.token_counter is not None else None
            counted.append((portion, future))
            while len(counted) > limits.parallel_batches:
                run.take(*counted.popleft())
            if stop is not None and stop():
                complete = False
                break
        while counted:
            run.take(*counted.popleft())
    finally:
        # Whoever interrupts does not wait for a portion to be counted: the owner of the counter ends it.
        pool.shutdown(wait=False, cancel_futures=True)
    run.end()
    return run.report(name, path, complete, time.monotonic() - began)


class _CheckRun:
    """The checks of one dataset, and what they found so far."""

    def __init__(self, limits: CheckLimits, evaluation: ContentIndex | None, *, lengths_only: bool):
        self._limits = limits
        self._images = ImageCheck(limits.max_pixels)
        self._answers = AnswerCheck()
        self._lengths = LengthCheck(limits.max_length, limits.min_pixels, limits.max_pixels, limits.count_image_tokens)
        overlap = [OverlapCheck(evaluation)] if evaluation is not None else []
        more: list[Check] = [self._images, DuplicateRowCheck(), DuplicateImageCheck(), self._answers, *overlap]
        self._checks: list[Check] = [FieldCheck(), *([] if lengths_only else more)]
        self._found = FindingCollector()
        self._rows = self._good = 0

    def take(self, portion: Sequence[LoadedRow], counting: "Future[list[TextTokenCounts]] | None") -> None:
        """Apply every check to some rows."""
        counts = iter(counting.result()) if counting is not None else None
        for judged in portion:
            self._rows += 1
            bad = False
            for check in self._checks:
                bad |= self._found.add(check.check_row(judged))
            if judged.example is not None and counts is not None:
                bad |= self._found.add(self._lengths.check_counted_row(judged, next(counts)))
            self._good += not bad and judged.example is not None

    def end(self) -> None:
        """What can be said of the whole."""
        for check in self._checks:
            self._found.add(check.finish())
        self._found.add(self._lengths.finish())

    def report(self, name: str, path: Path | None, complete: bool, seconds: float) -> CheckReport:
        """What was found."""
        counted = self._limits.token_counter is not None
        lengths = self._lengths
        return CheckReport(
            dataset=name,
            path=path,
            rows=self._rows,
            good_rows=self._good,
            images=self._images.distinct_count,
            image_uses=self._images.use_count,
            findings=self._found.findings,
            counts=dict(self._found.counts),
            rows_by_kind=self._found.rows_by_kind,
            total_tokens=lengths.tokens if counted else None,
            image_tokens=lengths.image_tokens if counted and self._limits.count_image_tokens is not None else None,
            supervised_tokens=lengths.supervised_tokens if counted else None,
            pixels=self._images.pixels,
            answer_characters=self._answers.answer_lengths,
            formats=dict(self._images.formats.most_common()),
            image_locations=dict(self._images.locations),
            suggestions=lengths.suggestions(),
            complete=complete,
            seconds=seconds,
        )


__all__ = [
    "CheckLimits",
    "Progress",
    "ReadOptions",
    "RowLoader",
    "Stop",
    "check_loaded_rows",
    "load_rows",
    "run_checks",
]
