"""Sort orders of the list of models: by time, by any metric of their evaluations, by loss, size or name."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mg_tui.core.text import one_line
from mg_tui.tui.models.catalog import EXACT_MATCH, ModelRow


@dataclass(frozen=True, slots=True)
class ModelOrder:
    """A sort order: id, title, the column that shows it, a model's value (None: none), whether the largest is first."""

    id: str
    title: str
    column: str
    value: Callable[[ModelRow], Any]
    descending: bool = False


TIME_ORDER: Final = ModelOrder("time", "Time", "age", lambda row: row.created, descending=True)
_BEFORE: Final = (
    TIME_ORDER,
    ModelOrder("eval_loss", "Evaluation loss", "loss", lambda row: row.eval_loss),
    ModelOrder("metric:" + EXACT_MATCH, "Exact match", "match", lambda row: row.exact_match, descending=True),
)
_AFTER: Final = (
    ModelOrder("size", "Size", "bytes", lambda row: row.bytes or None, descending=True),
    ModelOrder("name", "Name", "title", lambda row: row.title.casefold()),
)


def model_orders(rows: Iterable[ModelRow]) -> tuple[ModelOrder, ...]:
    """The orders there are for these models; the best score of a metric is first."""
    better = {name: score.higher_is_better for row in rows for name, score in row.scores.items()}
    metrics = [_metric_order(name, better[name]) for name in sorted(better) if name != EXACT_MATCH]
    return (*_BEFORE, *metrics, *_AFTER)


def _metric_order(name: str, higher_is_better: bool) -> ModelOrder:
    return ModelOrder(
        f"metric:{name}",
        one_line(name, limit=60),
        "match",
        lambda row: row.scores[name].value if name in row.scores else None,
        descending=higher_is_better,
    )


def sort_models(rows: Sequence[ModelRow], order: ModelOrder, *, reverse: bool) -> list[ModelRow]:
    """`rows` (results first, newest first) in an order; ties, and models without the value, stay as they are."""
    if order is TIME_ORDER and not reverse:
        return list(rows)
    with_value = [row for row in rows if order.value(row) is not None]
    with_value.sort(key=order.value, reverse=order.descending is not reverse)
    return [*with_value, *(row for row in rows if order.value(row) is None)]
