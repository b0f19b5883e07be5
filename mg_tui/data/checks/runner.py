"""The check of a dataset: every row read, every image probed, every check applied, in bounded memory.

Rows are processed in batches. While one is counted by the model's tokenizer, in processes of its own, the next is read
and its images are opened by threads. Image information and token counts are cached by content
(`mg_tui.data.image_info_cache`, `mg_tui.data.token_count_cache`), so a second check costs what reading costs; that of a
large dataset which has not changed is not repeated (`mg_tui.data.checks.report_cache`).
"""

import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from mg_tui.data.checks.answers import AnswerCheck
from mg_tui.data.checks.base import Check
from mg_tui.data.checks.duplicates import DuplicateImageCheck, DuplicateRowCheck
from mg_tui.data.checks.fields import ColumnCheck, FieldCheck
from mg_tui.data.checks.findings import CheckReport, FindingCollector
from mg_tui.data.checks.images import ImageCheck
from mg_tui.data.checks.lengths import ImageTokenCounter, LengthCheck, TextTokenCounter, TextTokenCounts
from mg_tui.data.checks.overlap import ContentIndex, OverlapCheck
from mg_tui.data.checks.report_cache import ReportCache
from mg_tui.data.dataset_cache import DatasetCache, DatasetRecorder
from mg_tui.data.loaded_dataset import Dataset
from mg_tui.data.progress import Progress, Stop
from mg_tui.data.row_loader import LoadedRow, ReadOptions, load_rows
from mg_tui.data.sources.base import Source


@dataclass(frozen=True)
class CheckLimits:
    """Limits that rows are checked against, and the counters of their tokens.

    Attributes:
        max_length: the most tokens of a row.
        min_pixels, max_pixels: bounds that images are resized into.
        token_counter: counts text tokens; None skips every check of lengths.
        count_image_tokens: see `LengthCheck`.
        parallel_batches: batches counted at a time.
    """

    max_length: int
    min_pixels: int
    max_pixels: int
    token_counter: TextTokenCounter | None = None
    count_image_tokens: ImageTokenCounter | None = None
    parallel_batches: int = 1

    def report_cache(
        self, cache: Path | None, dataset: Dataset, evaluation: ContentIndex | None, depth: str
    ) -> ReportCache | None:
        """Where the report of a check of `dataset` is cached; None when it cannot be.

        Args:
            cache: the garden's cache folder.
            dataset: the dataset.
            evaluation: what it must have nothing in common with.
            depth: how thoroughly it is checked.
        """
        if cache is None or dataset.content is None:
            return None
        identity = self.token_counter.identity if self.token_counter is not None else None
        sizes = [self.max_length, self.min_pixels, self.max_pixels, self.count_image_tokens is not None]
        contents = evaluation.digest() if evaluation is not None else None
        return ReportCache(cache, [dataset.content, identity, sizes, contents, depth])


def run_checks(
    source: Source,
    options: ReadOptions,
    limits: CheckLimits,
    *,
    evaluation: tuple[Source, ReadOptions] | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> CheckReport:
    """Check a dataset.

    Args:
        evaluation: a dataset that must share no row and no image with it, and how it is read.
        progress: called from this thread after every batch; see `load_rows`.
        stop: polled between batches; True ends the check early, and the report is marked incomplete.

    Raises:
        DataError: the dataset, or the evaluation dataset, cannot be read at all.
        EnvironmentProblem: the cache cannot be written, or the Hub cannot be reached.
    """
    start = time.monotonic()
    evaluation_index = None
    if evaluation is not None:
        evaluation_index = ContentIndex()
        for batch in load_rows(*evaluation):
            for row in batch:
                evaluation_index.add(row)
    how = (evaluation_index, options.probe_depth)
    cache = DatasetCache.of(source, options)
    stored = cache.open() if cache is not None else None
    if stored is not None and (known := limits.report_cache(options.cache, stored, *how)) is not None:
        report = known.load()
        if report is not None:
            return replace(report, dataset=source.name, path=source.path, seconds=time.monotonic() - start)
    recorder = DatasetRecorder(source, cache if stored is None else None)
    report = check_loaded_rows(
        recorder.record(load_rows(source, options, progress=progress), options.detected_format),
        limits,
        name=source.name,
        path=source.path,
        evaluation=evaluation_index,
        stop=stop,
    )
    stored = stored or recorder.stored
    if stored is not None and (known := limits.report_cache(options.cache, stored, *how)) is not None:
        known.save(report)
    return report


def check_loaded_rows(
    batches: Iterable[Sequence[LoadedRow]],
    limits: CheckLimits,
    *,
    name: str,
    path: Path | None = None,
    evaluation: ContentIndex | None = None,
    stop: Stop | None = None,
    lengths_only: bool = False,
) -> CheckReport:
    """As `run_checks`, for rows that have been loaded; `lengths_only` runs only checks of fields and lengths."""
    start = time.monotonic()
    run = _CheckRun(limits, evaluation, lengths_only=lengths_only)
    complete = True
    pool = ThreadPoolExecutor(max(limits.parallel_batches, 1), thread_name_prefix="counting")
    try:
        pending: deque[tuple[Sequence[LoadedRow], Future[list[TextTokenCounts]] | None]] = deque()
        for batch in batches:
            examples = [row.example for row in batch if row.example is not None]
            future = pool.submit(limits.token_counter.count, examples) if limits.token_counter is not None else None
            pending.append((batch, future))
            while len(pending) > limits.parallel_batches:
                run.add_batch(*pending.popleft())
            if stop is not None and stop():
                complete = False
                break
        while pending:
            run.add_batch(*pending.popleft())
    finally:
        # An interrupt does not wait for a batch to be counted: the owner of the counter ends its processes.
        pool.shutdown(wait=False, cancel_futures=True)
    run.finish()
    return run.report(name, path, complete, time.monotonic() - start)


class _CheckRun:
    """The checks of one dataset and their findings so far."""

    def __init__(self, limits: CheckLimits, evaluation: ContentIndex | None, *, lengths_only: bool):
        self._limits = limits
        self._images = ImageCheck(limits.max_pixels)
        self._answers = AnswerCheck()
        self._lengths = LengthCheck(limits.max_length, limits.min_pixels, limits.max_pixels, limits.count_image_tokens)
        overlap = [OverlapCheck(evaluation)] if evaluation is not None else []
        content: list[Check] = [
            ColumnCheck(),
            self._images,
            DuplicateRowCheck(),
            DuplicateImageCheck(),
            self._answers,
            *overlap,
        ]
        self._checks: list[Check] = [FieldCheck(), *([] if lengths_only else content)]
        self._findings = FindingCollector()
        self._rows = self._good_rows = 0

    def add_batch(self, batch: Sequence[LoadedRow], counting: "Future[list[TextTokenCounts]] | None") -> None:
        """Apply every check to a batch of rows."""
        counts = iter(counting.result()) if counting is not None else None
        for row in batch:
            self._rows += 1
            bad = False
            for check in self._checks:
                bad |= self._findings.add(check.check_row(row))
            if row.example is not None and counts is not None:
                bad |= self._findings.add(self._lengths.check_counted_row(row, next(counts)))
            self._good_rows += not bad and row.example is not None

    def finish(self) -> None:
        """Collect the findings that depend on all rows."""
        for check in self._checks:
            self._findings.add(check.finish())
        self._findings.add(self._lengths.finish())

    def report(self, name: str, path: Path | None, complete: bool, seconds: float) -> CheckReport:
        """The report of all batches."""
        counted = self._limits.token_counter is not None
        lengths = self._lengths
        return CheckReport(
            dataset=name,
            path=path,
            rows=self._rows,
            good_rows=self._good_rows,
            images=self._images.distinct_count,
            image_uses=self._images.use_count,
            findings=self._findings.findings,
            counts=dict(self._findings.counts),
            rows_by_kind=self._findings.rows_by_kind,
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
