"""Sort orders of the list of runs. Ties, and runs without the value, are newest first."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from mg_tui.runs.state import RunState

if TYPE_CHECKING:
    from mg_tui.tui.runs.snapshot import RunRow

_STATE_ORDER: Final = (
    RunState.RUNNING,
    RunState.QUEUED,
    RunState.CREATED,
    RunState.CRASHED,
    RunState.INTERRUPTED,
    RunState.FAILED,
    RunState.STOPPED,
    RunState.FINISHED,
)


@dataclass(frozen=True, slots=True)
class SortOrder:
    """A sort order: name, column that shows it, a run's value (None: none), and whether the largest is first."""

    name: str
    column: str
    value: "Callable[[RunRow], Any]"
    descending: bool = False


SORT_ORDERS: Final = (
    SortOrder("time", "age", lambda row: row.id, descending=True),  # an id starts with its creation time
    SortOrder("state", "state", lambda row: _STATE_ORDER.index(row.state)),
    SortOrder("name", "name", lambda row: row.title.casefold()),
    SortOrder("loss", "loss", lambda row: row.loss if row.loss is not None and isfinite(row.loss) else None),
)


def sort_rows(rows: "Iterable[RunRow]", order: SortOrder, *, reverse: bool) -> "list[RunRow]":
    """`rows` (newest first) in an order; queued runs take the places of queued runs in the order of the queue."""
    listed = list(rows)
    with_value = [row for row in listed if order.value(row) is not None]
    with_value.sort(key=order.value, reverse=order.descending is not reverse)
    return _queued_in_order([*with_value, *(row for row in listed if order.value(row) is None)])


def _queued_in_order(rows: "list[RunRow]") -> "list[RunRow]":
    """The rows with the queued ones among them in the order of the queue: number 1 never stands below number 2."""
    queued = iter(sorted((row for row in rows if row.queue_position), key=lambda row: row.queue_position or (0, False)))
    return [next(queued) if row.queue_position else row for row in rows]
