"""Scores by a column of the dataset, the worst groups first."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mg_tui.core.text import one_line
from mg_tui.metrics.contract import Scores
from mg_tui.metrics.uncertainty import RESAMPLES, SEED, Interval, intervals

# A group of fewer rows is listed after the others: the worst of many small groups is the unluckiest one.
MIN_GROUP_ROWS: Final = 5
MAX_GROUPS: Final = 50
_MAX_NUMBERS: Final = 12
MISSING: Final = "(none)"


@dataclass(frozen=True, slots=True)
class Group:
    """The rows that have one value in a column.

    Attributes:
        value: as a text; numbers of many different values are put into four ranges.
        rows: numbers of its rows.
        score: the metric's aggregate over them.
        interval: of the score.
        small: whether it has fewer than five rows, and is therefore listed after the others.
    """

    value: str
    rows: tuple[int, ...]
    score: float
    interval: Interval
    small: bool


def by_group(
    scores: Scores,
    values: Sequence[Any],
    clusters: Sequence[Hashable] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[Group]:
    """One metric by the values of a column, the worst first, small groups after the others.

    With more than 50 different values those with the fewest rows are left out.

    Args:
        values: one a row, in the order of the scores.
        clusters: as in `intervals`.
    """
    labels = group_labels(values)
    places: defaultdict[str, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        places[label].append(index)
    largest = sorted(places, key=lambda label: (-len(places[label]), label))[:MAX_GROUPS]
    groups = []
    for label in largest:
        part = subset(scores, places[label])
        own = [clusters[index] for index in places[label]] if clusters is not None else None
        (interval,) = intervals([part], own, resamples=resamples, seed=seed)
        groups.append(Group(label, part.rows, part.aggregate, interval, len(part.rows) < MIN_GROUP_ROWS))
    sign = 1 if scores.metric.higher_is_better else -1
    return sorted(groups, key=lambda group: (group.small, sign * group.score, -len(group.rows), group.value))


def subset(scores: Scores, places: Sequence[int]) -> Scores:
    """The scores of some rows, by their places."""
    statistics = scores.statistics[list(places)]
    return Scores(
        metric=scores.metric,
        rows=tuple(scores.rows[place] for place in places),
        values=tuple(scores.values[place] for place in places),
        aggregate=float(scores.combine(statistics.sum(axis=0))),
        statistics=statistics,
        combine=scores.combine,
        details={},
    )


def group_labels(values: Sequence[Any]) -> list[str]:
    """The group of each value: itself as a text, or its range where there are more than 12 different numbers."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(set(numbers)) > _MAX_NUMBERS and len(numbers) == sum(value is not None for value in values):
        return _ranges(values, sorted(numbers))
    return [_text(value) for value in values]


def _ranges(values: Sequence[Any], ordered: Sequence[float]) -> list[str]:
    edges = sorted({ordered[len(ordered) * quarter // 4] for quarter in range(1, 4)} - {ordered[0]})
    starts = [ordered[0], *edges]
    ends: list[float | None] = [*edges, None]
    titles = [
        f"{start:g} to below {end:g}" if end is not None else f"{start:g} to {ordered[-1]:g}"
        for start, end in zip(starts, ends, strict=True)
    ]
    return [MISSING if value is None else titles[sum(value >= edge for edge in edges)] for value in values]


def _text(value: Any) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        return MISSING
    return one_line(str(value), limit=80)


def groupable(columns: Sequence[dict[str, Any]]) -> list[str]:
    """Names of columns that rows can be grouped by: those that part the rows and do not name each of them.

    A column counts when it has at least two different values and on average two rows a value, or numbers.
    """
    names = []
    for name in dict.fromkeys(name for row in columns for name in row):
        values = [row.get(name) for row in columns]
        if any(isinstance(value, dict | list) for value in values):
            continue
        different = Counter(group_labels(values))
        if 2 <= len(different) <= max(len(values) // 2, 2) and len(different) <= MAX_GROUPS:
            names.append(name)
    return names
