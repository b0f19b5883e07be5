"""Score the predictions of an evaluation by several metrics."""

import math
import traceback
from collections.abc import Sequence
from typing import Any

from mg_tui.core.errors import DataError, GardenError, UsageError
from mg_tui.metrics.contract import Array, Evaluation, FailedMetric, Metric, MetricOutput, Prediction, Scores
from mg_tui.metrics.references import require_references


def evaluate(predictions: Sequence[Prediction], metrics: Sequence[Metric]) -> Evaluation:
    """Every metric over every prediction; none is left out, empty answers least of all.

    A metric of a plugin that raises, or gives anything but one finite score a row within its bounds, is among `failed`,
    and the others are not affected.

    Raises:
        DataError: there is nothing to score; a row has no reference, or one of a type that a metric does not take; a
            metric needs more references or images than there are.
        UsageError: no metric, or one named twice.
    """
    predictions = tuple(predictions)
    if not predictions:
        raise DataError("there is nothing to score: the evaluation has no row")
    names = [metric.name for metric in metrics]
    if not names or len(set(names)) < len(names):
        raise UsageError("metrics are named once each, and at least one is" if names else "no metric was chosen")
    for prediction in predictions:
        require_references(prediction)
    scores, failed = [], []
    for metric in metrics:
        try:
            scores.append(score(predictions, metric))
        except GardenError as error:
            if not metric.origin:
                raise
            failed.append(FailedMetric(metric, error.what))
        except Exception as error:
            if not metric.origin:
                raise
            failed.append(FailedMetric(metric, _problem(error)))
    return Evaluation(predictions, tuple(scores), tuple(failed))


def score(predictions: Sequence[Prediction], metric: Metric) -> Scores:
    """One metric over the predictions.

    Raises:
        DataError: as `evaluate`.
        ValueError: the metric does not keep its contract.
    """
    require(predictions, metric)
    measured = metric.compute(predictions)
    values = tuple(float(value) for value in measured.values)
    if len(values) != len(predictions):
        raise ValueError(f"gave {len(values)} scores for {len(predictions)} rows")
    low, high = metric.bounds
    for value, prediction in zip(values, predictions, strict=True):
        if not math.isfinite(value) or not low <= value <= high:
            raise ValueError(f"gave row {prediction.row} the score {value!r}, outside {low:g} to {high:g}")
    statistics, combine = _statistics(measured, values)
    aggregate = float(combine(statistics.sum(axis=0)))
    if not math.isfinite(aggregate):
        raise ValueError(f"gave all rows together the score {aggregate!r}")
    rows = tuple(prediction.row for prediction in predictions)
    return Scores(metric, rows, values, aggregate, statistics, combine, dict(measured.details))


def require(predictions: Sequence[Prediction], metric: Metric) -> None:
    """Refuse data that a metric means nothing on.

    Raises:
        DataError: a row has too few references, or the evaluation too few images.
    """
    for prediction in predictions:
        if len(prediction.references) < metric.minimum_references:
            least, count = metric.minimum_references, len(prediction.references)
            raise DataError(
                f"{metric.name} needs {least} references a row, and row {prediction.row} has {count}",
                where=f"row {prediction.row}",
                why="with fewer its leave-one-out rule gives correct answers less than 1",
                hint="use exact_match_vqa",
            )
    images = count_images(predictions)
    if images < metric.minimum_images:
        raise DataError(
            f"{metric.name} needs {metric.minimum_images} images, and the evaluation has {images}",
            why="its weights come from how many images' references have a word, and say nothing of so few",
            hint="use rouge_l or chrf",
        )


def count_images(predictions: Sequence[Prediction]) -> int:
    """Different images; a row without any counts as one of its own."""
    known = {image for prediction in predictions for image in prediction.images}
    return len(known) + sum(not prediction.images for prediction in predictions)


def _statistics(measured: MetricOutput, values: tuple[float, ...]) -> tuple[Array, Any]:
    import numpy as np

    if measured.statistics is None or measured.combine is None:
        return np.stack([np.asarray(values), np.ones(len(values))], axis=1), mean
    table = np.asarray(measured.statistics, dtype=np.float64)
    if table.ndim != 2 or len(table) != len(values):
        raise ValueError(f"gave statistics of shape {table.shape} for {len(values)} rows")
    return table, measured.combine


def mean(sums: Array) -> Array:
    """The mean, from sums of scores and of rows; shape (..., 2)."""
    import numpy as np

    return np.asarray(sums[..., 0] / np.maximum(sums[..., 1], 1.0))


def _problem(error: Exception) -> str:
    """What went wrong in a plugin's function, and the line of it that raised."""
    text = f"{type(error).__name__}: {error}" if not isinstance(error, ValueError) else str(error) or "ValueError"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "mg_tui" not in frame.filename]
    return f"{text} ({frames[-1].filename}:{frames[-1].lineno})" if frames else text


def clusters_by_image(predictions: Sequence[Prediction]) -> list[int]:
    """A key a row, the same for rows that show a common image, directly or through a third row."""
    parent = list(range(len(predictions)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    first_with: dict[str, int] = {}
    for place, prediction in enumerate(predictions):
        for image in prediction.images:
            one, other = root(first_with.setdefault(image, place)), root(place)
            parent[max(one, other)] = min(one, other)
    return [root(place) for place in range(len(predictions))]
