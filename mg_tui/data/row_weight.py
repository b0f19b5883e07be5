"""The weight of a row: the factor of the losses of its supervised tokens."""

import math
from collections.abc import Mapping
from typing import Any, Final

from mg_tui.data.jsonl import describe_type
from mg_tui.data.row_problems import RowProblem

_ALLOWED_VALUES: Final = "a non-negative number"


def parse_weight(number: int, values: Mapping[str, Any], name: str | None) -> float | RowProblem:
    """The weight of row `number` in field `name`, 1 when `name` is None; or the problem with it."""
    if name is None:
        return 1.0
    if name not in values:
        return RowProblem(number, name, "is missing", "use 1 for the normal weight")
    value = values[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return RowProblem(number, name, f"is {describe_type(value)}, expected {_ALLOWED_VALUES}")
    try:
        weight = float(value)
    except OverflowError:
        weight = math.inf
    if not math.isfinite(weight) or weight < 0:
        return RowProblem(number, name, f"is {describe_type(value)}, expected {_ALLOWED_VALUES}")
    return weight
