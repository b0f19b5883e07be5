"""Metrics of structured answers: valid JSON, per-field accuracy, ANLS*."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

from mg_tui.metrics.anls_star import anls_star
from mg_tui.metrics.contract import Metric, MetricOutput, Prediction
from mg_tui.metrics.normalize import folded
from mg_tui.metrics.references import INVALID, parse_json, structures
from mg_tui.metrics.rows import is_blank

# Fields listed in a result; a table with a column for every key of a free-form object helps nobody.
MAX_FIELDS: Final = 100


def _json_valid(predictions: Sequence[Prediction]) -> MetricOutput:
    values = [float(parse_json(prediction.answer) is not INVALID) for prediction in predictions]
    fenced = sum(
        not value and parse_json(prediction.answer, fenced=True) is not INVALID
        for value, prediction in zip(values, predictions, strict=True)
    )
    return MetricOutput(values, details={"valid_in_a_code_fence": fenced})


def fields(value: Any, path: str = "") -> dict[str, Any]:
    """Every leaf of a JSON value by its path: `total`, `items[0].price`. Empty objects and arrays are leaves."""
    if isinstance(value, dict) and value:
        parts = [fields(inner, f"{path}.{key}" if path else key) for key, inner in value.items()]
    elif isinstance(value, list) and value:
        parts = [fields(inner, f"{path}[{index}]") for index, inner in enumerate(value)]
    else:
        return {path: value}
    return {key: leaf for part in parts for key, leaf in part.items()}


def same_field(predicted: Any, expected: Any) -> bool:
    """Whether two leaves are equal: numbers by value, also one written as a text; texts case and space folded."""
    if isinstance(predicted, bool) or isinstance(expected, bool) or predicted is None or expected is None:
        return type(predicted) is type(expected) and bool(predicted == expected)
    if isinstance(predicted, dict | list) or isinstance(expected, dict | list):
        return type(predicted) is type(expected) and bool(predicted == expected)
    if isinstance(predicted, str) and isinstance(expected, str):
        return folded(predicted) == folded(expected)
    return bool(predicted == expected) or (
        _as_number(predicted) is not None and _as_number(predicted) == _as_number(expected)
    )


def _as_number(value: Any) -> float | None:
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


_INDEX: Final = re.compile(r"\[\d+\]")


def _json_fields(predictions: Sequence[Prediction]) -> MetricOutput:
    values = []
    seen: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    extra = 0
    for prediction in predictions:
        answer = parse_json(prediction.answer, fenced=True)
        predicted = {} if answer is INVALID else fields(answer)
        candidates = []
        for reference in structures(prediction):
            leaves = fields(reference)
            candidates.append(
                {path: path in predicted and same_field(predicted[path], leaf) for path, leaf in leaves.items()}
            )
        expected = max(candidates, key=lambda one: sum(one.values()) / len(one))
        values.append(sum(expected.values()) / len(expected))
        extra += len(predicted.keys() - expected.keys())
        for path, equal in expected.items():
            counts = seen[_INDEX.sub("[]", path) or "(whole)"]
            counts[0] += equal
            counts[1] += 1
    # The worst fields first, and of two equally bad ones the more frequent.
    ranked = sorted(seen.items(), key=lambda item: (item[1][0] / item[1][1], -item[1][1], item[0]))
    listed = {path: {"accuracy": equal / total, "rows": total} for path, (equal, total) in ranked[:MAX_FIELDS]}
    return MetricOutput(values, details={"fields": listed, "fields_not_in_the_reference": extra})


def _anls_star(predictions: Sequence[Prediction]) -> MetricOutput:
    values = []
    for prediction in predictions:
        references = structures(prediction)
        answer = parse_json(prediction.answer, fenced=True)
        if is_blank(prediction.answer):
            values.append(0.0)  # the package takes an empty text for null
        else:
            values.append(anls_star(prediction.answer if answer is INVALID else answer, references))
    return MetricOutput(values)


def metrics() -> Iterator[Metric]:
    """The metrics of this module."""
    yield Metric(
        name="json_valid",
        version="1",
        title="Valid JSON",
        summary="The whole answer is JSON; in a code fence it is not, and is counted beside.",
        source="RFC 8259",
        compute=_json_valid,
    )
    yield Metric(
        name="json_fields",
        version="1",
        title="JSON fields, accuracy",
        summary="Share of the reference's fields that the answer has under the same path with the same value.",
        source="by definition; numbers by value, texts folded, list items by position",
        compute=_json_fields,
        reference="json",
    )
    yield Metric(
        name="anls_star",
        version="1",
        title="ANLS*",
        summary="ANLS of every field, items of lists in the order that fits best; missing and invented fields cost.",
        source="Peer et al. 2024 (arXiv 2402.03848), anls-star 1.0",
        compute=_anls_star,
        reference="json",
    )
