"""CIDEr-D: how much a caption says of what its references say and other images' references do not."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from mg_tui.metrics.contract import Metric, MetricOutput, Prediction
from mg_tui.metrics.normalize import WORDS, words
from mg_tui.metrics.references import texts
from mg_tui.metrics.rows import blank_score

ORDER = 4
_SIGMA = 6.0
# With one image every weight is log(1) = 0, and with few the weights say little about which words are rare.
MIN_IMAGES = 50

_Vector = tuple[list[dict[tuple[str, ...], float]], list[float], int]


def cider_d(answers: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> list[float]:
    """CIDEr-D of each row, 0 to 10: Vedantam et al. 2015 with clipping and a penalty on length, as pycocoevalcap.

    Args:
        answers: the tokens of each row's answer.
        references: the tokens of each row's references; a row counts as one document for the weights of n-grams.
    """
    counted = [[_ngrams(tokens) for tokens in row] for row in references]
    documents: Counter[tuple[str, ...]] = Counter()
    for row in counted:
        documents.update(set().union(*row))
    rows = math.log(len(references)) if references else 0.0
    scores = []
    for tokens, row in zip(answers, counted, strict=True):
        predicted = _vector(_ngrams(tokens), documents, rows)
        total = sum(_similarity(predicted, _vector(grams, documents, rows)) for grams in row)
        scores.append(10.0 * total / len(row))
    return scores


def _ngrams(tokens: Sequence[str]) -> Counter[tuple[str, ...]]:
    return Counter(
        tuple(tokens[start : start + order])
        for order in range(1, ORDER + 1)
        for start in range(len(tokens) - order + 1)
    )


def _vector(grams: Counter[tuple[str, ...]], documents: Counter[tuple[str, ...]], rows: float) -> _Vector:
    weights: list[dict[tuple[str, ...], float]] = [{} for _ in range(ORDER)]
    squares = [0.0] * ORDER
    # The reference implementation's "length" is the number of word pairs, not of words.
    length = 0
    for gram, count in grams.items():
        weight = count * (rows - math.log(max(1, documents[gram])))
        weights[len(gram) - 1][gram] = weight
        squares[len(gram) - 1] += weight**2
        length += count if len(gram) == 2 else 0
    return weights, [math.sqrt(square) for square in squares], length


def _similarity(predicted: _Vector, expected: _Vector) -> float:
    """Mean over the orders of the clipped cosine, times the penalty on a difference in length."""
    penalty = math.exp(-((predicted[2] - expected[2]) ** 2) / (2 * _SIGMA**2))
    total = 0.0
    for mine, theirs, own_norm, their_norm in zip(predicted[0], expected[0], predicted[1], expected[1], strict=True):
        if own_norm and their_norm:
            dot = sum(min(weight, theirs[gram]) * theirs[gram] for gram, weight in mine.items() if gram in theirs)
            total += penalty * dot / (own_norm * their_norm)
    return total / ORDER


def _measure(predictions: Sequence[Prediction]) -> MetricOutput:
    scores = cider_d(
        [words(prediction.answer) for prediction in predictions],
        [[words(reference) for reference in texts(prediction)] for prediction in predictions],
    )
    values = []
    for prediction, score in zip(predictions, scores, strict=True):
        blank = blank_score(prediction, 10.0)
        values.append(min(max(score, 0.0), 10.0) if blank is None else blank)
    return MetricOutput(values, details={"tokenizer": WORDS})


def metrics() -> Iterator[Metric]:
    """The metrics of this module."""
    yield Metric(
        name="cider_d",
        version="1",
        title="CIDEr-D",
        summary="Words and word sequences in common with the references, rare ones counting more, 0 to 10.",
        source="Vedantam et al. 2015; pycocoevalcap with another tokenizer",
        compute=_measure,
        bounds=(0.0, 10.0),
        correct_at=None,
        minimum_images=MIN_IMAGES,
    )
