"""The check: every row read, every picture looked at, every rule applied, in bounded memory and as often as one likes.

Rows are taken in portions. While one is being counted by the model's tokenizer, in processes of its own, the next is
read and its pictures are opened by threads. What was seen in pictures and counted in texts is kept in the cache by what
they contain (`mg_tui.data.looks`, `mg_tui.data.kept_counts`), so that a second check costs what reading costs.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mg_tui.data.check import CheckDepth, Found, Outcome, check_images
from mg_tui.data.checks.answers import AnswerCheck
from mg_tui.data.checks.fields import FieldCheck
from mg_tui.data.checks.judged import Check, Judged
from mg_tui.data.checks.lengths import LengthCheck, PictureTokens, TextCounter, TextTokens
from mg_tui.data.checks.overlap import Contents, OverlapCheck
from mg_tui.data.checks.pictures import PictureCheck
from mg_tui.data.checks.repeats import ImageRepeats, RowRepeats
from mg_tui.data.findings import Collector, Report
from mg_tui.data.index import is_packed
from mg_tui.data.looks import Looks
from mg_tui.data.mapping import Draft
from mg_tui.data.pictures import Given, Kept, PictureStore
from mg_tui.data.policy import ANYWHERE, ReadPolicy
from mg_tui.data.problems import RowProblem
from mg_tui.data.resolve import ImageResolver
from mg_tui.data.rows import Row
from mg_tui.data.sources.layouts import to_draft

if TYPE_CHECKING:
    from mg_tui.data.sources.base import Recognised, Source

# (done, of how many): bytes of a text file, rows of anything else; 0 where the whole is not known.
Progress = Callable[[int, int], None]
Stop = Callable[[], bool]

_PORTION: Final = 1024  # rows


@dataclass(frozen=True)
class Reading:
    """How rows become conversations, and how their pictures are found and looked at.

    Attributes:
        recognised: what the dataset is taken for; what the source takes it for when left out.
        image_root, cwd: where relative paths are looked up after the dataset's folder.
        cache: the garden's cache folder.
        system_prompt: put before every conversation that has none.
        depth: decode every picture, read its header, or only see that it is there.
        allow_private_urls, policy: see `ImageResolver`.
        workers: threads for pictures; all usable cores when left out.
    """

    recognised: "Recognised | None" = None
    image_root: Path | None = None
    cwd: Path = field(default_factory=Path.cwd)
    cache: Path | None = None
    system_prompt: str | None = None
    depth: CheckDepth = "header"
    allow_private_urls: bool | None = None
    workers: int | None = None
    policy: ReadPolicy = ANYWHERE

    def resolver(self, base: Path) -> ImageResolver:
        """Finds the pictures of a dataset whose relative paths are seen from `base`."""
        return ImageResolver(
            base,
            self.image_root,
            self.cwd,
            self.cache,
            allow_private_urls=self.allow_private_urls,
            policy=self.policy,
        )


@dataclass(frozen=True)
class Limits:
    """What rows are held against.

    Attributes:
        max_length: the most tokens of a row.
        min_pixels, max_pixels: between which pictures are brought.
        counter: counts the tokens of text; None leaves lengths unjudged.
        picture_tokens: see `LengthCheck`.
        lanes: portions counted at a time.
    """

    max_length: int
    min_pixels: int
    max_pixels: int
    counter: TextCounter | None = None
    picture_tokens: PictureTokens | None = None
    lanes: int = 1


def check(
    source: "Source",
    reading: Reading,
    limits: Limits,
    *,
    evaluation: "tuple[Source, Reading] | None" = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Report:
    """Check a dataset.

    Args:
        evaluation: a dataset that shall have no row and no picture in common with it, and how it is read.
        progress: called from this thread a few times a second.
        stop: asked between portions; true ends the check early, with a report that says so.

    Raises:
        DataError: the dataset, or the evaluation dataset, cannot be read at all.
        EnvironmentProblem: the cache cannot be written, or a hub cannot be reached.
    """
    contents = None
    if evaluation is not None:
        contents = Contents()
        for portion in judge_rows(*evaluation):
            for judged in portion:
                contents.take(judged)
    return check_judged(
        judge_rows(source, reading, progress=progress),
        limits,
        name=source.name,
        path=source.path,
        evaluation=contents,
        stop=stop,
    )


def judge_rows(source: "Source", reading: Reading, *, progress: Progress | None = None) -> Iterator[list[Judged]]:
    """Rows with their pictures looked at, in portions, in order."""
    judge = Judge(source, reading)
    total = _total(source)
    rows = source.rows()
    try:
        while portion := list(islice(rows, _PORTION)):
            judged = judge(portion)
            if progress is not None:
                last = portion[-1]
                progress(last.offset + last.length if last.length else last.number, total)
            yield judged
    finally:
        judge.close()


class Judge:
    """Reads rows as conversations and looks at their pictures, each once."""

    def __init__(self, source: "Source", reading: Reading):
        self._reading = reading
        self.recognised = reading.recognised or source.recognised
        self._resolver = reading.resolver(source.base)
        self._store, self._looks = PictureStore(reading.cache), Looks(reading.cache)
        self._seen: dict[Given, Outcome] = {}

    def draft(self, row: Row) -> Draft | list[RowProblem]:
        """A row's conversation, its pictures not looked at."""
        return to_draft(row, self.recognised.layout, self.recognised.fields, self._store)

    def __call__(self, rows: Sequence[Row]) -> list[Judged]:
        drafts = [(row, self.draft(row)) for row in rows]
        given = (one for _row, draft in drafts if isinstance(draft, Draft) for one in draft.images)
        new = [one for one in given if one not in self._seen]
        reading = self._reading
        found = check_images(new, self._resolver, reading.depth, workers=reading.workers, looks=self._looks)
        self._seen.update(found)
        return [_judged(row.number, row.values is not None, draft, self._seen, reading) for row, draft in drafts]

    def close(self) -> None:
        """Keep what was seen."""
        self._looks.close()


def _total(source: "Source") -> int:
    if source.format == "jsonl" and source.path is not None and source.path.is_file():
        return 0 if is_packed(source.path) else source.path.stat().st_size
    return source.count() or 0


def _judged(
    number: int, readable: bool, draft: Draft | list[RowProblem], seen: dict[Given, Outcome], reading: Reading
) -> Judged:
    if not isinstance(draft, Draft):
        return Judged(number, None, tuple(draft), readable=readable)
    pictures = tuple((given.given if isinstance(given, Kept) else given, seen[given]) for given in draft.images)
    found = [outcome for _given, outcome in pictures if isinstance(outcome, Found)]
    if len(found) < len(pictures):
        return Judged(number, None, (), pictures, draft.image_field)
    example = draft.example([one.located.ref for one in found], reading.system_prompt)
    return Judged(number, example, (), pictures, draft.image_field)


def check_judged(
    portions: Iterable[Sequence[Judged]],
    limits: Limits,
    *,
    name: str,
    path: Path | None = None,
    evaluation: Contents | None = None,
    stop: Stop | None = None,
    lengths_only: bool = False,
) -> Report:
    """As `check`, of rows that were read already; `lengths_only` leaves out what cannot stop a run."""
    began = time.monotonic()
    run = _Run(limits, evaluation, lengths_only=lengths_only)
    complete = True
    pool = ThreadPoolExecutor(max(limits.lanes, 1), thread_name_prefix="counting")
    try:
        counted: deque[tuple[Sequence[Judged], Future[list[TextTokens]] | None]] = deque()
        for portion in portions:
            examples = [judged.example for judged in portion if judged.example is not None]
            future = pool.submit(limits.counter.count, examples) if limits.counter is not None else None
            counted.append((portion, future))
            while len(counted) > limits.lanes:
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


class _Run:
    """The checks of one dataset, and what they found so far."""

    def __init__(self, limits: Limits, evaluation: Contents | None, *, lengths_only: bool):
        self._limits = limits
        self._pictures = PictureCheck(limits.max_pixels)
        self._answers = AnswerCheck()
        self._lengths = LengthCheck(limits.max_length, limits.min_pixels, limits.max_pixels, limits.picture_tokens)
        overlap = [OverlapCheck(evaluation)] if evaluation is not None else []
        more: list[Check] = [self._pictures, RowRepeats(), ImageRepeats(), self._answers, *overlap]
        self._checks: list[Check] = [FieldCheck(), *([] if lengths_only else more)]
        self._found = Collector()
        self._rows = self._good = 0

    def take(self, portion: Sequence[Judged], counting: "Future[list[TextTokens]] | None") -> None:
        """Apply every check to some rows."""
        counts = iter(counting.result()) if counting is not None else None
        for judged in portion:
            self._rows += 1
            bad = False
            for check in self._checks:
                bad |= self._found.take(check.row(judged))
            if judged.example is not None and counts is not None:
                bad |= self._found.take(self._lengths.judge(judged, next(counts)))
            self._good += not bad and judged.example is not None

    def end(self) -> None:
        """What can be said of the whole."""
        for check in self._checks:
            self._found.take(check.end())
        self._found.take(self._lengths.end())

    def report(self, name: str, path: Path | None, complete: bool, seconds: float) -> Report:
        """What was found."""
        counted = self._limits.counter is not None
        lengths = self._lengths
        return Report(
            dataset=name,
            path=path,
            rows=self._rows,
            good=self._good,
            images=self._pictures.distinct,
            image_uses=self._pictures.uses,
            findings=self._found.findings,
            counts=dict(self._found.counts),
            rows_of=self._found.rows_of,
            tokens=lengths.tokens if counted else None,
            image_tokens=lengths.images if counted and self._limits.picture_tokens is not None else None,
            learned=lengths.learned if counted else None,
            pixels=self._pictures.pixels,
            answers=self._answers.characters,
            formats=dict(self._pictures.formats.most_common()),
            places=dict(self._pictures.places),
            remedies=lengths.remedies(),
            complete=complete,
            seconds=seconds,
        )


__all__ = ["Judge", "Limits", "Progress", "Reading", "Stop", "check", "check_judged", "judge_rows"]
