"""How sure a score is, and whether two models differ: percentile bootstrap, paired where two are compared.

Efron and Tibshirani, "An Introduction to the Bootstrap" (1993); Koehn, "Statistical Significance Tests for Machine
Translation Evaluation" (2004) for pairing. Rows are drawn with replacement, 1,000 times, from a generator of a fixed
seed: the same scores always have the same interval. Aggregates that are no mean (BLEU, error rates, F1) are recomputed
for every draw from sums of their statistics. Rows that show the same image are drawn together when `clusters` says so:
five questions about one image are not five independent observations.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from mg_tui.core.errors import UsageError
from mg_tui.metrics.contract import MIN_ROWS, Array, Scores

RESAMPLES: Final = 1000
CONFIDENCE: Final = 0.95
SEED: Final = 3407
# Draws held at once, so that memory does not grow with the rows.
_MAX_DRAWS: Final = 2**22
# Two scores that differ by less are the same, and rounding is what they differ by.
_SAME: Final = 1e-9

Verdict = Literal["better", "worse", "no clear difference", "too few rows"]


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval that holds the score of other rows of the same kind, with a confidence of usually 0.95."""

    low: float
    high: float
    confidence: float = CONFIDENCE


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of two models over the same rows.

    Attributes:
        name, title: of the metric.
        before, after: the aggregates; `change` is after - before.
        interval: of the change.
        probability: two-sided bootstrap probability of a change at least so large by chance; never below 1 / draws.
        verdict: "better" or "worse" only when the interval leaves out 0 and there are at least 30 independent rows.
        fixed, broken: numbers of rows that were wrong and are correct, and the other way; empty where the metric does
            not say what is correct.
        improved, worsened: numbers of rows whose score changed at all.
        unchanged: count of rows whose score did not.
        independent: count of rows, or of clusters where rows hang together.
    """

    name: str
    title: str
    before: float
    after: float
    change: float
    interval: Interval
    probability: float
    verdict: Verdict
    fixed: tuple[int, ...]
    broken: tuple[int, ...]
    improved: tuple[int, ...]
    worsened: tuple[int, ...]
    unchanged: int
    independent: int

    @property
    def sentence(self) -> str:
        """The outcome in a sentence."""
        low, high = self.interval.low, self.interval.high
        if self.before == self.after and low == high == 0:
            return f"{self.title} stayed at {self.after:.3f}: no row changed."
        change = f"{self.title} went from {self.before:.3f} to {self.after:.3f} (change {low:+.3f} to {high:+.3f})"
        if self.verdict == "too few rows":
            return f"{change}: {self.independent} independent rows are too few to call that a difference."
        if self.verdict == "no clear difference":
            return f"{change}: it may be chance."
        return f"{change}: {self.verdict}."


def intervals(
    scores: Sequence[Scores],
    clusters: Sequence[Hashable] | None = None,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
) -> list[Interval]:
    """The bootstrap interval of each aggregate; all scores are of the same rows.

    Args:
        clusters: one key a row; rows of equal keys are drawn together.
    """
    drawn = _resampled([(score.statistics, score.combine) for score in scores], clusters, resamples, seed)
    return [_interval(values, confidence) for values in drawn]


def compare(
    before: Scores,
    after: Scores,
    clusters: Sequence[Hashable] | None = None,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
) -> Comparison:
    """What changed from one model to another: paired bootstrap over the rows that both answered.

    Raises:
        UsageError: the scores are of different metrics, or of different rows.
    """
    if before.metric.label != after.metric.label:
        raise UsageError(f"{before.metric.label} cannot be compared with {after.metric.label}")
    if before.rows != after.rows:
        raise UsageError(
            "the two evaluations are of different rows", hint="evaluate both on the same dataset, split and limit"
        )
    old, new = _resampled(
        [(before.statistics, before.combine), (after.statistics, after.combine)], clusters, resamples, seed
    )
    changes = new - old
    interval = _interval(changes, confidence)
    least = min(int((changes <= _SAME).sum()), int((changes >= -_SAME).sum()))
    probability = min(1.0, 2 * (least + 1) / (resamples + 1))
    independent = len(set(clusters)) if clusters is not None else len(before.rows)
    metric = before.metric
    moves = [(row, new - old) for row, old, new in zip(before.rows, before.values, after.values, strict=True)]
    sign = 1 if metric.higher_is_better else -1
    correct = [
        (row, metric.is_correct(old), metric.is_correct(new))
        for row, old, new in zip(before.rows, before.values, after.values, strict=True)
    ]
    improved = tuple(row for row, move in moves if sign * move > _SAME)
    worsened = tuple(row for row, move in moves if sign * move < -_SAME)
    return Comparison(
        name=metric.name,
        title=metric.title,
        before=before.aggregate,
        after=after.aggregate,
        change=after.aggregate - before.aggregate,
        interval=interval,
        probability=probability,
        verdict=_verdict(interval, sign, independent),
        fixed=tuple(row for row, old_correct, new_correct in correct if old_correct is False and new_correct),
        broken=tuple(row for row, old_correct, new_correct in correct if old_correct and new_correct is False),
        improved=improved,
        worsened=worsened,
        unchanged=len(moves) - len(improved) - len(worsened),
        independent=independent,
    )


def _verdict(interval: Interval, sign: int, independent: int) -> Verdict:
    if independent < MIN_ROWS:
        return "too few rows"
    if interval.low <= _SAME and interval.high >= -_SAME:
        return "no clear difference"
    return "better" if sign * interval.low > 0 else "worse"


def _interval(values: Array, confidence: float) -> Interval:
    import numpy as np

    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high), confidence)


def _resampled(
    measured: Sequence[tuple[Array, Callable[[Array], Array]]],
    clusters: Sequence[Hashable] | None,
    resamples: int,
    seed: int,
) -> list[Array]:
    """The aggregates of every draw, shape (resamples,) each; the same draws for all of `measured`."""
    import numpy as np

    if not measured:
        return []
    table = np.concatenate([statistics for statistics, _combine in measured], axis=1)
    if clusters is not None:
        table = _summed(table, clusters)
    parts = [weights @ table for weights in _weights(len(table), resamples, seed)]
    sums = np.concatenate(parts, axis=0)
    aggregates, start = [], 0
    for statistics, combine in measured:
        end = start + statistics.shape[1]
        aggregates.append(np.asarray(combine(sums[:, start:end]), dtype=np.float64))
        start = end
    return aggregates


def _weights(count: int, resamples: int, seed: int) -> Iterator[Any]:
    """How often each of `count` rows is in each draw, shape (draws, count), a portion of draws at a time."""
    import numpy as np

    generator = np.random.default_rng(seed)
    portion = max(1, _MAX_DRAWS // max(count, 1))
    for start in range(0, resamples, portion):
        size = min(portion, resamples - start)
        drawn = generator.integers(0, count, size=(size, count)) + np.arange(size)[:, None] * count
        yield np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)


def _summed(table: Array, clusters: Sequence[Hashable]) -> Array:
    """Statistics summed over the rows of each cluster, clusters in the order of their first rows."""
    import numpy as np

    if len(clusters) != len(table):
        raise ValueError(f"{len(clusters)} cluster keys for {len(table)} rows")
    index: dict[Hashable, int] = {}
    places = [index.setdefault(key, len(index)) for key in clusters]
    summed = np.zeros((len(index), table.shape[1]))
    np.add.at(summed, places, table)
    return summed
