"""What a metric scores, what it gives back, and what a metric is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]
else:
    Array = Any

BoxUnits = Literal["pixels", "resized", "thousandths", "unit"]
ReferenceType = Literal["text", "label", "number", "count", "json", "boxes"]


@dataclass(frozen=True, slots=True)
class BoxFrame:
    """In which units boxes are written, and the sizes that turn them into pixels of the original image.

    Attributes:
        answer, reference: "pixels" of the original image; pixels of the image as "resized" for the model;
            "thousandths" of its sides, 0 to 1000; shares of its sides ("unit"), 0 to 1.
        image: (width, height) of the original image in pixels; None when not known.
        seen: (width, height) of the image as the model saw it.
    """

    answer: BoxUnits = "pixels"
    reference: BoxUnits = "pixels"
    image: tuple[int, int] | None = None
    seen: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's answer to one row of a dataset, and the row's references.

    Attributes:
        row: number of the row in its dataset, from 1.
        answer: the text of the model, as it is.
        references: correct answers, any one of which counts; a text, a number, or a JSON value.
        images: the row's images by path, for metrics over images; may be empty.
        boxes: units and sizes for boxes; None takes answer and reference to be in the same units.
    """

    row: int
    answer: str
    references: tuple[Any, ...]
    images: tuple[str, ...] = ()
    boxes: BoxFrame | None = None


@dataclass(frozen=True, slots=True)
class MetricOutput:
    """What a metric's function gives back.

    Attributes:
        values: one score a row, in the order of the predictions.
        statistics: shape (rows, k), numbers whose sums over any set of rows determine the aggregate of that set; None
            when the aggregate is the mean of `values`.
        combine: sums of statistics of shape (..., k) to aggregates of shape (...); given exactly when `statistics` is.
        details: what belongs into the result beside the score, such as a tokenizer's name; JSON values.
    """

    values: Sequence[float]
    statistics: Array | None = None
    combine: Callable[[Array], Array] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


MetricFunction = Callable[[Sequence[Prediction]], MetricOutput]


@dataclass(frozen=True, slots=True)
class Metric:
    """A named, versioned way of scoring.

    Attributes:
        name: what `--metrics` takes: lower-case letters, digits and underscores.
        version: changes whenever a score would; name and version stand in every result.
        title: for headings.
        summary: what is scored, in a sentence.
        source: where the definition is from.
        compute: scores the predictions of an evaluation.
        reference: the type of references it takes.
        bounds: the least and the greatest score of a row; infinity where there is none.
        higher_is_better: false for errors.
        correct_at: the score from which (for errors: up to which) a row counts as correct; None where no score does.
        minimum_references: of every row.
        minimum_images: different images in the evaluation.
        origin: the plugin it comes from; empty for those that are built in.
    """

    name: str
    version: str
    title: str
    summary: str
    source: str
    compute: MetricFunction
    reference: ReferenceType = "text"
    bounds: tuple[float, float] = (0.0, 1.0)
    higher_is_better: bool = True
    correct_at: float | None = 1.0
    minimum_references: int = 1
    minimum_images: int = 0
    origin: str = ""

    @property
    def label(self) -> str:
        """Name and version, as results are marked with."""
        return f"{self.name}@{self.version}"

    def is_correct(self, value: float) -> bool | None:
        """Whether a row of this score counts as correct; None where the metric does not say."""
        if self.correct_at is None:
            return None
        return value >= self.correct_at if self.higher_is_better else value <= self.correct_at


@dataclass(frozen=True, slots=True)
class Scores:
    """One metric over the rows of an evaluation.

    Attributes:
        metric: the metric.
        rows: row numbers, in the order of the predictions.
        values: one score a row.
        aggregate: the score of all of them.
        statistics: shape (rows, k); see `MetricOutput`. For a mean these are the score and 1.
        combine: sums of statistics to aggregates.
        details: see `MetricOutput`.
    """

    metric: Metric
    rows: tuple[int, ...]
    values: tuple[float, ...]
    aggregate: float
    statistics: Array
    combine: Callable[[Array], Array]
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FailedMetric:
    """A metric of a plugin that could not be computed, and why; the others are not affected."""

    metric: Metric
    problem: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All metrics over the same predictions."""

    predictions: tuple[Prediction, ...]
    scores: tuple[Scores, ...]
    failed: tuple[FailedMetric, ...] = ()

    @property
    def empty_answers(self) -> int:
        """Answers without anything but white space; each is counted in every score."""
        return sum(not prediction.answer.strip() for prediction in self.predictions)

    def of(self, name: str) -> Scores:
        """The scores of one metric.

        Raises:
            KeyError: it was not computed.
        """
        for scores in self.scores:
            if scores.metric.name == name:
                return scores
        raise KeyError(name)


# Below this many independent rows no difference is called significant.
MIN_ROWS: Final = 30
