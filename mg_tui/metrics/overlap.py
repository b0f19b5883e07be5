"""Metrics of common words and characters: token F1, ROUGE-L, BLEU, chrF."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from mg_tui.metrics.contract import Array, Metric, MetricOutput, Prediction
from mg_tui.metrics.normalize import WORDS, folded, squad, words
from mg_tui.metrics.references import texts
from mg_tui.metrics.rows import best_of, blank_score, per_row

_BLEU_ORDER = 4
_CHRF_ORDER, _CHRF_BETA = 6, 2


def token_f1(answer: str, reference: str) -> float:
    """F1 of the words in common, after SQuAD's normalizer; where one side has no words, 1 if neither has.

    Rajpurkar et al., "SQuAD" (2016), evaluate-v1.1.py.
    """
    predicted, expected = squad(answer).split(), squad(reference).split()
    if not predicted or not expected:
        return float(predicted == expected)
    common = (Counter(predicted) & Counter(expected)).total()
    return 2 * common / (len(predicted) + len(expected))


def rouge_l(answer: str, reference: str) -> float:
    """F1 of the longest common subsequence of words (Lin 2004); Google's rouge-score without stemming, on ASCII."""
    from rapidfuzz.distance import LCSseq

    predicted, expected = words(answer), words(reference)
    if not predicted or not expected:
        return float(folded(answer) == folded(reference))
    return 2 * LCSseq.similarity(predicted, expected) / (len(predicted) + len(expected))


def _rouge_l(predictions: Sequence[Prediction]) -> MetricOutput:
    values = per_row(best_of(rouge_l), texts)(predictions).values
    return MetricOutput(values, details={"tokenizer": WORDS})


def _bleu(predictions: Sequence[Prediction]) -> MetricOutput:
    import numpy as np
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(effective_order=True)
    statistics, values = [], []
    for prediction in predictions:
        done: Any = metric.sentence_score(prediction.answer, list(texts(prediction)))
        statistics.append([*done.counts, *done.totals, done.sys_len, done.ref_len])
        blank = blank_score(prediction, 100.0)
        values.append(min(float(done.score), 100.0) if blank is None else blank)
    table = np.asarray(statistics, dtype=np.float64).reshape(-1, 2 * _BLEU_ORDER + 2)
    return MetricOutput(
        values, table, combine_bleu, {"signature": f"case:mixed|eff:yes|tok:13a|smooth:exp|{_version()}"}
    )


def combine_bleu(sums: Array) -> Array:
    """BLEU (0 to 100) of sums of matched and all n-grams and of lengths, shape (..., 10).

    Smoothed and of effective order as sacrebleu's `compute_bleu(smooth_method="exp", effective_order=True)`, which
    for any text with four-grams is its standard.
    """
    import numpy as np

    matched, total = sums[..., :_BLEU_ORDER], sums[..., _BLEU_ORDER : 2 * _BLEU_ORDER]
    predicted, expected = sums[..., -2], sums[..., -1]
    # Orders count up to the first without n-grams; every order without a match halves the smoothed count once more.
    counted = np.logical_and.accumulate(total > 0, axis=-1)
    missed = counted & (matched == 0)
    smoothed = np.where(missed, 0.5 ** np.cumsum(missed, axis=-1), matched)
    logs = np.where(counted, np.log(np.where(counted, smoothed, 1.0) / np.where(counted, total, 1.0)), 0.0)
    mean = logs.sum(axis=-1) / np.maximum(counted.sum(axis=-1), 1)
    brevity = np.where(predicted < expected, np.exp(1 - expected / np.maximum(predicted, 1e-9)), 1.0)
    score = np.where(matched.any(axis=-1), 100 * brevity * np.exp(mean), 0.0)
    return np.where((predicted == 0) & (expected == 0), 100.0, np.minimum(score, 100.0))


def _chrf(predictions: Sequence[Prediction]) -> MetricOutput:
    import numpy as np
    from sacrebleu.metrics.helpers import extract_all_char_ngrams

    statistics = []
    for prediction in predictions:
        predicted = extract_all_char_ngrams(prediction.answer, _CHRF_ORDER)
        candidates = np.asarray(
            [
                _chrf_counts(predicted, extract_all_char_ngrams(reference, _CHRF_ORDER))
                for reference in texts(prediction)
            ],
            dtype=np.float64,
        )
        statistics.append(candidates[int(combine_chrf(candidates).argmax())])
    table = np.asarray(statistics, dtype=np.float64).reshape(-1, 3 * _CHRF_ORDER)
    values = []
    for prediction, score in zip(predictions, combine_chrf(table).tolist(), strict=True):
        blank = blank_score(prediction, 100.0)
        values.append(score if blank is None else blank)
    return MetricOutput(
        values, table, combine_chrf, {"signature": f"case:mixed|eff:yes|nc:6|nw:0|space:no|{_version()}"}
    )


def _version() -> str:
    import sacrebleu

    return f"version:{sacrebleu.__version__}"


def _chrf_counts(predicted: list[Counter[str]], expected: list[Counter[str]]) -> list[int]:
    """For each order: n-grams of the answer (none where the reference has none), of the reference, in common."""
    counts = []
    for mine, theirs in zip(predicted, expected, strict=True):
        counts += [mine.total() if theirs else 0, theirs.total(), (mine & theirs).total()]
    return counts


def combine_chrf(sums: Array) -> Array:
    """chrF2 (0 to 100) of sums of n-gram counts, shape (..., 18); Popović 2015, as sacrebleu computes it."""
    import numpy as np

    predicted, expected, common = sums[..., 0::3], sums[..., 1::3], sums[..., 2::3]
    counted = (predicted > 0) & (expected > 0)
    orders = np.maximum(counted.sum(axis=-1), 1)
    precision = np.where(counted, common / np.maximum(predicted, 1.0), 0.0).sum(axis=-1) / orders
    recall = np.where(counted, common / np.maximum(expected, 1.0), 0.0).sum(axis=-1) / orders
    weight = _CHRF_BETA**2
    below = weight * precision + recall
    score = 100 * (1 + weight) * precision * recall / np.where(below > 0, below, 1.0)
    nothing = (predicted.sum(axis=-1) == 0) & (expected.sum(axis=-1) == 0)
    return np.where(nothing, 100.0, np.clip(score, 0.0, 100.0))


def metrics() -> Iterator[Metric]:
    """The metrics of this module."""
    yield Metric(
        name="token_f1",
        version="1",
        title="Token F1",
        summary="F1 of the words an answer has in common with the nearest reference.",
        source="SQuAD v1.1",
        compute=per_row(best_of(token_f1), texts),
        correct_at=0.5,
    )
    yield Metric(
        name="rouge_l",
        version="1",
        title="ROUGE-L",
        summary="F1 of the longest common subsequence of words with the nearest reference.",
        source="Lin 2004; Google's rouge-score, also beyond ASCII",
        compute=_rouge_l,
        correct_at=None,
    )
    yield Metric(
        name="bleu",
        version="1",
        title="BLEU",
        summary="Precision of one to four words in a row, over all rows, 0 to 100.",
        source="sacrebleu 2.6",
        compute=_bleu,
        bounds=(0.0, 100.0),
        correct_at=None,
    )
    yield Metric(
        name="chrf",
        version="1",
        title="chrF2",
        summary="F2 of one to six characters in a row, over all rows, 0 to 100.",
        source="sacrebleu 2.6",
        compute=_chrf,
        bounds=(0.0, 100.0),
        correct_at=None,
    )
