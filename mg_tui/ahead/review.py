"""The check of a dataset that has been read, as a run's preflight makes it: at a cost that nobody notices.

It is the check of `mg_tui.data.checking`, of rows whose pictures have just been looked at. What would cost seconds, the
tokenizer, is asked only about rows that may be too long: a token has at least one byte of text, so that a row with few
enough bytes, its pictures' tokens added, cannot be.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from mg_tui.ahead.token_counts import ProcessCounter, picture_tokens_of
from mg_tui.config import Settings
from mg_tui.core.errors import DataError
from mg_tui.core.example import Example
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.check import Found
from mg_tui.data.checking import Limits, check_judged
from mg_tui.data.checks.judged import Judged
from mg_tui.data.checks.lengths import PictureTokens, TextCounter, TextTokens
from mg_tui.data.checks.overlap import Contents
from mg_tui.data.dataset import Dataset
from mg_tui.data.findings import KINDS, Report
from mg_tui.data.images import ImageInfo
from mg_tui.data.kept_counts import KeptCounts
from mg_tui.data.problems import BadRows, RowProblem, plain
from mg_tui.data.resolve import Located

if TYPE_CHECKING:
    from mg_tui.families.registry import ResolvedModel

# More than templates write around a conversation, a turn and a picture: those of the families here stay below half.
_AROUND: Final = 96
_AROUND_TURN: Final = 16
_AROUND_PICTURE: Final = 8
_PORTION: Final = 1024
# Rows of which everything is looked at: three seconds. Of more, what stops a run; `datasets check` looks at all of it.
_WHOLE_ROWS: Final = 50_000
# Findings that only lengths and the template give: everything else stands in `Dataset.problems` already.
_JUDGED_HERE: Final = ("too-long", "nothing-learned", "template", "image-shape")


def review(
    spec: TrainingSpec,
    settings: Settings,
    model: "ResolvedModel",
    dataset: Dataset,
    evaluation: Dataset | None = None,
) -> Report:
    """Check a dataset that has been read. Its report has no histograms of tokens: few rows were counted.

    Raises:
        BadRows: rows are too long, or have nothing to learn, and bad rows are not to be left out.
    """
    picture_tokens = picture_tokens_of(model)
    counter = ProcessCounter(spec, model, lanes=1)
    try:
        small = len(dataset.examples) <= _WHOLE_ROWS
        contents = _contents(evaluation) if evaluation is not None and small else None
        report = _review(spec, settings, dataset, counter, picture_tokens, contents)
        if evaluation is not None and spec.on_bad_row == "stop":
            _require_none(_review(spec, settings, evaluation, counter, picture_tokens, None), evaluation)
    finally:
        counter.close()
    if spec.on_bad_row == "stop":
        _require_none(report, dataset)
    return report


def _review(
    spec: TrainingSpec,
    settings: Settings,
    dataset: Dataset,
    counter: TextCounter,
    picture_tokens: PictureTokens | None,
    evaluation: Contents | None,
) -> Report:
    kept = KeptCounts(counter, settings.cache, str(dataset.path))
    suspecting = _Suspects(kept, spec, dataset.image_infos, picture_tokens)
    limits = Limits(
        spec.max_seq_length, spec.min_pixels, spec.max_pixels, counter=suspecting, picture_tokens=picture_tokens
    )
    name = plain(dataset.address or str(dataset.path))
    report = check_judged(
        judged_rows(dataset),
        limits,
        name=name,
        path=dataset.path,
        evaluation=evaluation,
        lengths_only=len(dataset.examples) > _WHOLE_ROWS,
    )
    kept.save()
    # What a few rows have says nothing of the others.
    return replace(report, tokens=None, image_tokens=None, learned=None)


def judged_rows(dataset: Dataset) -> Iterator[list[Judged]]:
    """The rows of a dataset, as the checks see them, in portions."""
    for start in range(0, len(dataset.examples), _PORTION):
        yield [_judged(dataset, example) for example in dataset.examples[start : start + _PORTION]]


def _judged(dataset: Dataset, example: Example) -> Judged:
    infos = dataset.image_infos
    pictures = tuple((ref.given, Found(Located(ref, "dataset folder"), infos.get(ref.path))) for ref in example.images)
    return Judged(example.row, example, (), pictures)


def _contents(dataset: Dataset) -> Contents:
    contents = Contents()
    for portion in judged_rows(dataset):
        for judged in portion:
            contents.take(judged)
    return contents


def _require_none(report: Report, dataset: Dataset) -> None:
    found = [finding for finding in report.findings if finding.kind in _JUDGED_HERE]
    if found:
        problems = [RowProblem(one.row, one.field, one.what, one.hint) for one in found]
        raise BadRows(problems, where=plain(str(dataset.path)), examples=report.rows - len(report.bad_rows()))


class _Suspects:
    """Counts rows that may be too long, and says of the others what they have at most; see `TextCounter`."""

    def __init__(
        self,
        counter: TextCounter,
        spec: TrainingSpec,
        infos: Mapping[str, ImageInfo],
        picture_tokens: PictureTokens | None,
    ):
        self.identity = counter.identity
        self._counter = counter
        self._spec = spec
        self._infos = infos
        self._picture_tokens = picture_tokens

    def count(self, examples: Sequence[Example]) -> list[TextTokens]:
        """See `TextCounter`."""
        most = [self._at_most(example) for example in examples]
        suspects = [example for example, tokens in zip(examples, most, strict=True) if tokens is None]
        counted = iter(self._counter.count(suspects) if suspects else ())
        return [next(counted) if tokens is None else (tokens, 1) for tokens in most]

    def _at_most(self, example: Example) -> int | None:
        """The most tokens its text can have; None when that may be too many."""
        said = sum(len(message.text.encode("utf-8", "surrogatepass")) for message in example.messages)
        text = said + _AROUND + _AROUND_TURN * len(example.messages) + _AROUND_PICTURE * len(example.images)
        if self._spec.system_prompt:
            text += len(self._spec.system_prompt.encode("utf-8", "surrogatepass"))
        images = sum(self._picture(ref.path) for ref in example.images)
        return text if text + images <= self._spec.max_seq_length else None

    def _picture(self, path: str) -> int:
        info = self._infos.get(path)
        if info is None or self._picture_tokens is None:
            return 0
        try:
            return self._picture_tokens(info.width, info.height, self._spec.min_pixels, self._spec.max_pixels)
        except DataError:
            return 0


def warnings_in_words(report: Report) -> str:
    """What a check warns of, on one line; empty when it does of nothing."""
    listed = [
        f"{KINDS[kind].title} ({count:,})" for kind, count in report.counts.items() if KINDS[kind].severity == "warning"
    ]
    return ", ".join(listed)
