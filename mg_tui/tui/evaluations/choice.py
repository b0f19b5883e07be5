"""Which rows of an evaluation are shown, and in which order."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Final

from mg_tui.tui.evaluations.detail import EvaluationDetail

ALL: Final = "all"
# Filters in the order in which the key goes through them, each with what it shows.
FILTERS: Final = {
    ALL: "all rows",
    "wrong": "only wrong",
    "changed": "only changed",
    "broken": "only broken",
    "fixed": "only fixed",
    "worsened": "only worsened",
    "improved": "only improved",
    "errors": "only not answered",
    "marked": "only marked",
}
WORST, DATASET = "worst first", "as in the dataset"


@dataclass(frozen=True, slots=True)
class RowChoice:
    """What is shown.

    Attributes:
        metric: the metric that rows are judged by; empty before there is one.
        only: a key of `FILTERS`.
        order: `WORST` or `DATASET`.
        group: a column and a group of it, whose rows alone are shown.
    """

    metric: str = ""
    only: str = ALL
    order: str = WORST
    group: tuple[str, str] | None = None

    @property
    def is_everything(self) -> bool:
        """Whether no row is left out."""
        return self.only == ALL and self.group is None


def available_filters(detail: EvaluationDetail, metric: str, marked: Collection[int]) -> list[str]:
    """The filters that can have rows, for a metric."""
    judged, compared = detail.judges_rows(metric), metric in detail.comparison
    applies = {
        ALL: True,
        "wrong": judged,
        "changed": compared,
        "broken": compared and judged,
        "fixed": compared and judged,
        "worsened": compared and not judged,
        "improved": compared and not judged,
        "errors": bool(detail.rows.errors),
        "marked": bool(marked),
    }
    return [name for name in FILTERS if applies[name]]


def select_places(detail: EvaluationDetail, choice: RowChoice, marked: Collection[int]) -> Sequence[int]:
    """Places of the rows that are shown, in order. Takes about 0.1 s for 100,000 rows."""
    places: Sequence[int] = range(detail.count)
    if choice.only != ALL:
        chosen = _places_of_filter(detail, choice, marked)
        places = sorted(place for place in chosen if place < detail.count)
    if choice.group is not None:
        column, group = choice.group
        labels = group_of_places(detail, column)
        places = [place for place in places if place < len(labels) and labels[place] == group]
    scores = detail.rows.scores.get(choice.metric)
    if choice.order == WORST and scores is not None:
        sign = 1 if detail.higher_is_better(choice.metric) else -1
        places = sorted(places, key=lambda place: _rank(scores[place], sign))
    return places


def _rank(score: float, sign: int) -> float:
    return float("inf") if isnan(score) else sign * score


def _places_of_filter(detail: EvaluationDetail, choice: RowChoice, marked: Collection[int]) -> Iterable[int]:
    match choice.only:
        case "errors":
            return list(detail.rows.errors)
        case "marked":
            return _places(detail, marked)
        case "wrong":
            is_correct = row_judge(detail, choice.metric)
            return (place for place in range(detail.count) if is_correct(place) is False)
        case "changed":
            kinds = ("improved", "worsened")
            return _places(detail, [n for kind in kinds for n in detail.numbers(choice.metric, kind)])
        case kind:
            return _places(detail, detail.numbers(choice.metric, kind))


def _places(detail: EvaluationDetail, numbers: Iterable[int]) -> list[int]:
    return [place for number in numbers if (place := detail.rows.place_of(number)) is not None]


def group_of_places(detail: EvaluationDetail, column: str) -> list[str]:
    """The group of each row in a column, as scores are grouped."""
    from mg_tui.metrics.groups import group_labels

    return group_labels(detail.rows.columns.get(column, []))


def row_judge(detail: EvaluationDetail, metric: str) -> Callable[[int], bool | None]:
    """A function that says of a place whether its answer is correct; None where the metric does not say."""
    scores, judge = detail.rows.scores.get(metric), detail.metrics.get(metric)
    if scores is None or judge is None:
        return lambda place: None
    return lambda place: None if isnan(scores[place]) else judge.is_correct(scores[place])
