"""References as metrics take them: texts, numbers, counts, JSON values. What is of another type is named by its row."""

import json
from typing import Any, Final

from mg_tui.core.errors import DataError
from mg_tui.core.text import one_line
from mg_tui.metrics.contract import Prediction

# Deeper JSON is not compared: no schema is nested so, and a model that repeats itself writes brackets without end.
MAX_DEPTH: Final = 64
INVALID: Final = object()


def texts(prediction: Prediction) -> tuple[str, ...]:
    """The references as texts; numbers as JSON writes them.

    Raises:
        DataError: one is an object, an array, a truth value or nothing.
    """
    return tuple(_text(prediction, reference) for reference in require_references(prediction))


def _text(prediction: Prediction, reference: Any) -> str:
    if isinstance(reference, str):
        return reference
    if isinstance(reference, int | float) and not isinstance(reference, bool):
        return json.dumps(reference)
    raise wrong_type(prediction, reference, "a text", "json_fields and anls_star take objects and arrays")


def structures(prediction: Prediction) -> tuple[Any, ...]:
    """The references as JSON values; a text is read as JSON.

    Raises:
        DataError: a text is no JSON, or nested more than 64 deep.
    """
    values = []
    for reference in require_references(prediction):
        value = parse_json(reference) if isinstance(reference, str) else reference
        if value is INVALID or too_deep(value):
            raise wrong_type(prediction, reference, "JSON", "anls and token_f1 take any text")
        values.append(value)
    return tuple(values)


def require_references(prediction: Prediction) -> tuple[Any, ...]:
    """The references as they are.

    Raises:
        DataError: there is none.
    """
    if not prediction.references:
        raise DataError(
            f"row {prediction.row} has no reference",
            why="an answer can only be scored against a reference",
            hint="name the column of correct answers with --response-field",
        )
    return prediction.references


def wrong_type(prediction: Prediction, reference: Any, wanted: str, hint: str) -> DataError:
    """The error that a reference is not what a metric takes."""
    shown = one_line(reference if isinstance(reference, str) else json.dumps(reference, default=str), limit=80)
    return DataError(
        f"the reference of row {prediction.row} is not {wanted}: {shown or 'empty'}",
        where=f"row {prediction.row}",
        why="a metric of --metrics takes no other",
        hint=hint,
    )


def parse_json(text: str, *, fenced: bool = False) -> Any:
    """The JSON value that a text is, or `INVALID`. NaN and Infinity are not JSON.

    Args:
        fenced: also take what stands alone in a code fence of Markdown, as many models answer.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        inner = _inside_fence(text) if fenced else None
        return parse_json(inner) if inner is not None else INVALID
    return INVALID if too_deep(value) else value


def too_deep(value: Any) -> bool:
    """Whether a JSON value is nested more than `MAX_DEPTH` deep."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for node in level
            if isinstance(node, dict | list)
            for inner in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return False
    return True


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _inside_fence(text: str) -> str | None:
    lines = text.strip().splitlines()
    if len(lines) < 2 or not lines[0].startswith("```") or lines[-1].strip() != "```":
        return None
    return "\n".join(lines[1:-1])
