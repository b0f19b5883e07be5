"""The check of a loaded dataset in a run's preflight: the tokenizer, which takes seconds, is used only where needed.

It is the check of `mg_tui.data.checks.runner`, of rows whose images have just been probed. Only rows that may be too
long are tokenized: a token has at least one byte of text, so the bytes of a row plus its images' tokens are an upper
bound of its length.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from mg_tui.config import Settings
from mg_tui.core.errors import DataError
from mg_tui.core.example import Example
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.checks.findings import KINDS, CheckReport
from mg_tui.data.checks.lengths import ImageTokenCounter, TextTokenCounter, TextTokenCounts
from mg_tui.data.checks.overlap import ContentIndex
from mg_tui.data.checks.runner import CheckLimits, check_loaded_rows
from mg_tui.data.dataset import Dataset
from mg_tui.data.image_probe import ImageProbe
from mg_tui.data.image_resolver import ResolvedImage
from mg_tui.data.images import ImageInfo
from mg_tui.data.row_loader import LoadedRow
from mg_tui.data.row_problems import BadRows, RowProblem, safe_line
from mg_tui.data.token_count_cache import CachedTokenCounter
from mg_tui.preflight.token_counter import TokenCounterPool, family_image_tokens

if TYPE_CHECKING:
    from mg_tui.families.registry import ResolvedModel

# Upper bounds of the tokens that a chat template adds to a conversation, a turn and an image: the templates of the
# included families stay below half. `mg_tui.preflight.memory` has estimates of the same three.
_TEMPLATE_TOKENS: Final = 96
_TURN_TOKENS: Final = 16
_IMAGE_TOKENS: Final = 8
_CHUNK_ROWS: Final = 1024
# Larger datasets are only checked for errors that stop a run: all checks of this many rows take three seconds.
# `datasets check` always runs all of them.
_MAX_FULL_CHECK_ROWS: Final = 50_000
# Findings of lengths and the template; all other errors are in `Dataset.problems` already.
_NEW_FINDING_KINDS: Final = ("too-long", "nothing-learned", "template", "image-shape")


def check_loaded_dataset(
    spec: TrainingSpec,
    settings: Settings,
    model: "ResolvedModel",
    dataset: Dataset,
    evaluation: Dataset | None = None,
) -> CheckReport:
    """Check a loaded dataset. The report has no histograms of tokens, since only some rows are counted.

    Raises:
        BadRows: rows are too long or have no supervised token, and `on_bad_row` is "stop".
    """
    image_tokens = family_image_tokens(model)
    counter = TokenCounterPool(spec, model, lanes=1)
    try:
        small = len(dataset.examples) <= _MAX_FULL_CHECK_ROWS
        contents = _dataset_contents(evaluation) if evaluation is not None and small else None
        report = _check_loaded(spec, settings, dataset, counter, image_tokens, contents)
        if evaluation is not None and spec.on_bad_row == "stop":
            _require_no_findings(_check_loaded(spec, settings, evaluation, counter, image_tokens, None), evaluation)
    finally:
        counter.close()
    if spec.on_bad_row == "stop":
        _require_no_findings(report, dataset)
    return report


def _check_loaded(
    spec: TrainingSpec,
    settings: Settings,
    dataset: Dataset,
    counter: TextTokenCounter,
    image_tokens: ImageTokenCounter | None,
    evaluation: ContentIndex | None,
) -> CheckReport:
    cached = CachedTokenCounter(counter, settings.cache, dataset.address, partial=True)
    long_row_counter = _LongRowCounter(cached, spec, dataset.image_infos, image_tokens)
    limits = CheckLimits(
        spec.max_seq_length,
        spec.min_pixels,
        spec.max_pixels,
        token_counter=long_row_counter,
        count_image_tokens=image_tokens,
    )
    name = safe_line(dataset.address or str(dataset.path))
    reports = limits.report_cache(settings.cache, dataset, evaluation, "before a run")
    # `datasets check` of the same rows and limits has found all that this check would find, and more.
    complete = limits.report_cache(settings.cache, dataset, evaluation, "decode")
    for cached_report in (reports, complete):
        if cached_report is not None and (known := cached_report.load()) is not None:
            return replace(known, total_tokens=None, image_tokens=None, supervised_tokens=None)
    report = check_loaded_rows(
        checked_rows(dataset),
        limits,
        name=name,
        path=dataset.path,
        evaluation=evaluation,
        lengths_only=len(dataset.examples) > _MAX_FULL_CHECK_ROWS,
    )
    cached.save()
    # Counts of some rows are not representative of all.
    report = replace(report, total_tokens=None, image_tokens=None, supervised_tokens=None)
    if reports is not None:
        reports.save(report)
    return report


def checked_rows(dataset: Dataset) -> Iterator[list[LoadedRow]]:
    """The rows of a dataset as the checks take them, in batches."""
    for start in range(0, len(dataset.examples), _CHUNK_ROWS):
        yield [_checked_row(dataset, example) for example in dataset.examples[start : start + _CHUNK_ROWS]]


def _checked_row(dataset: Dataset, example: Example) -> LoadedRow:
    infos = dataset.image_infos
    images = tuple(
        (ref.original, ImageProbe(ResolvedImage(ref, "dataset folder"), infos.get(ref.path))) for ref in example.images
    )
    return LoadedRow(example.row, example, (), images)


def _dataset_contents(dataset: Dataset) -> ContentIndex:
    contents = ContentIndex()
    for batch in checked_rows(dataset):
        for row in batch:
            contents.add(row)
    return contents


def _require_no_findings(report: CheckReport, dataset: Dataset) -> None:
    findings = [finding for finding in report.findings if finding.kind in _NEW_FINDING_KINDS]
    if findings:
        problems = [RowProblem(finding.row, finding.field, finding.what, finding.hint) for finding in findings]
        problems = list(dataset.with_origins(problems))
        raise BadRows(problems, where=safe_line(str(dataset.path)), examples=report.rows - len(report.bad_rows()))


class _LongRowCounter:
    """Counts rows that may be too long, and returns the upper bound for the others; see `TextTokenCounter`."""

    def __init__(
        self,
        counter: TextTokenCounter,
        spec: TrainingSpec,
        infos: Mapping[str, ImageInfo],
        image_tokens: ImageTokenCounter | None,
    ):
        self.identity = counter.identity
        self._counter = counter
        self._spec = spec
        self._infos = infos
        self._image_tokens = image_tokens

    def count(self, examples: Sequence[Example]) -> list[TextTokenCounts]:
        """See `TextTokenCounter`."""
        bounds = [self._upper_bound(example) for example in examples]
        long = [example for example, bound in zip(examples, bounds, strict=True) if bound is None]
        counted = iter(self._counter.count(long) if long else ())
        return [next(counted) if bound is None else (bound, 1) for bound in bounds]

    def _upper_bound(self, example: Example) -> int | None:
        """An upper bound of the text tokens; None when the row may be too long."""
        text_bytes = sum(len(message.text.encode("utf-8", "surrogatepass")) for message in example.messages)
        text = (
            text_bytes + _TEMPLATE_TOKENS + _TURN_TOKENS * len(example.messages) + _IMAGE_TOKENS * len(example.images)
        )
        if self._spec.system_prompt:
            text += len(self._spec.system_prompt.encode("utf-8", "surrogatepass"))
        images = sum(self._image(ref.path) for ref in example.images)
        return text if text + images <= self._spec.max_seq_length else None

    def _image(self, path: str) -> int:
        info = self._infos.get(path)
        if info is None or self._image_tokens is None:
            return 0
        try:
            return self._image_tokens(info.width, info.height, self._spec.min_pixels, self._spec.max_pixels)
        except DataError:
            return 0


def format_warnings(report: CheckReport) -> str:
    """The warnings of a report on one line; empty when there are none."""
    listed = [
        f"{KINDS[kind].title} ({count:,})" for kind, count in report.counts.items() if KINDS[kind].severity == "warning"
    ]
    return ", ".join(listed)
