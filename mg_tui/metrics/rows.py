"""Metrics that score row by row: the mean is their aggregate. What every one of them shares is here."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from mg_tui.metrics.contract import Metric, MetricFunction, MetricOutput, Prediction
from mg_tui.metrics.references import texts

R = TypeVar("R")


def is_blank(text: str) -> bool:
    """Whether a text has nothing but white space."""
    return not text.strip()


def blank_score(prediction: Prediction, best: float = 1.0) -> float | None:
    """The score of an empty answer: 0, or the best where a reference is empty too. None when it is not empty."""
    if not is_blank(prediction.answer):
        return None
    return best if any(isinstance(text, str) and is_blank(text) for text in prediction.references) else 0.0


def per_row(
    score: Callable[[str, tuple[R, ...]], float], references: Callable[[Prediction], tuple[R, ...]]
) -> MetricFunction:
    """A compute whose rows are scored alone.

    Args:
        score: the answer and the references of the type it takes, to a score. It is not asked about empty answers,
            which score 0 (1 where a reference is empty too).
        references: the references of a prediction as `score` takes them; raises DataError naming the row.
    """

    def compute(predictions: Sequence[Prediction]) -> MetricOutput:
        values = []
        for prediction in predictions:
            taken = references(prediction)
            blank = blank_score(prediction)
            values.append(float(score(prediction.answer, taken)) if blank is None else blank)
        return MetricOutput(values)

    return compute


def best_of(score: Callable[[str, str], float]) -> Callable[[str, tuple[str, ...]], float]:
    """A score against one reference made one against several: the best of them."""
    return lambda answer, references: max(score(answer, reference) for reference in references)


def row_metric(
    name: str,
    score: Callable[[str, Sequence[str]], float],
    *,
    version: str = "1",
    title: str = "",
    summary: str = "",
    source: str = "",
    **fields: Any,
) -> Metric:
    """A metric of a function and its name: what a plugin yields from `mg_metrics`.

    Args:
        name: what `--metrics` takes: lower-case letters, digits and underscores.
        score: the answer and the references of a row, all of them texts, to a score between 0 and 1. An answer without
            text is never given to it: it scores 0.
        version: change it whenever a score would.
        fields: any other field of `Metric`, such as `bounds` or `correct_at`.
    """

    def score_texts(answer: str, references: tuple[str, ...]) -> float:
        return score(answer, references)

    return Metric(
        name=name,
        version=version,
        title=title or name.replace("_", " "),
        summary=summary,
        source=source,
        compute=per_row(score_texts, texts),
        **fields,
    )
