"""ANLS*: ANLS for JSON values, with keys matched by name and items of lists matched as they fit best.

Peer et al., "ANLS* - A Universal Document Processing Metric" (arXiv 2402.03848). The package `anls-star` is the
reference, and tests hold this to it score for score. It compares every pair of items twice for each level of lists,
which takes a second for an invoice of forty lines; here every pair is compared once.
"""

import math
from typing import Any

_THRESHOLD = 0.5


def anls_star(answer: Any, references: tuple[Any, ...]) -> float:
    """The score of a JSON value against its alternatives, 0 to 1."""
    (scores, length, _nearest) = max(
        (_compare(reference, answer) for reference in references),
        key=lambda option: (_mean(option[0], option[1]), option[2] == answer),
    )
    return _mean(scores, length)


def _mean(scores: list[float], length: int) -> float:
    return sum(scores) / length if length > 0 else 1.0


def _size(value: Any) -> int:
    """Number of leaves."""
    if isinstance(value, dict):
        return sum(_size(inner) for inner in value.values())
    return sum(_size(inner) for inner in value) if isinstance(value, list) else 1


def _is_nothing(value: Any) -> bool:
    return value is None or value in ({}, [], "")


def _compare(expected: Any, predicted: Any) -> tuple[list[float], int, Any]:
    """The scores of the leaves, the number they are divided by, and `expected` with its lists reordered to match."""
    if isinstance(expected, dict) and isinstance(predicted, dict):
        return _compare_objects(expected, predicted)
    if isinstance(expected, list) and isinstance(predicted, list):
        return _compare_lists(expected, predicted)
    length = max(_size(expected), _size(predicted))
    if expected is None:
        nothing = _is_nothing(predicted)
        return [float(nothing)], length, predicted if nothing else None
    if isinstance(expected, dict | list) or predicted is None or isinstance(predicted, dict | list):
        return [0.0], length, expected
    return [_leaf(expected, predicted)], length, expected


def _leaf(expected: Any, predicted: Any) -> float:
    from rapidfuzz.distance import Levenshtein

    this, other = (" ".join(str(value).lower().split()) for value in (expected, predicted))
    longest = max(len(this), len(other))
    score = 1 - (Levenshtein.distance(this, other) / longest if longest else 0.0)
    return score if score >= _THRESHOLD else 0.0


def _compare_objects(expected: dict[str, Any], predicted: dict[str, Any]) -> tuple[list[float], int, Any]:
    scores: list[float] = []
    total = 0
    nearest = {}
    for key in [*expected, *(key for key in predicted if key not in expected)]:
        inner, length, chosen = _compare(expected.get(key), predicted.get(key))
        total += length
        if key not in expected and _is_nothing(predicted[key]):
            continue
        scores += inner
        if key in predicted or not _is_nothing(chosen):
            nearest[key] = chosen
    return scores, total, nearest


def _compare_lists(expected: list[Any], predicted: list[Any]) -> tuple[list[float], int, Any]:
    if not expected or not predicted:
        return [], _size(expected) + _size(predicted), list(expected)
    from munkres import Munkres, make_cost_matrix

    table = [[_compare(item, other) for other in predicted] for item in expected]
    means = [
        [
            # Of matches that are equally good, those that are equal are taken.
            math.nextafter(_mean(scores, length), math.inf) if other == nearest else _mean(scores, length)
            for (scores, length, nearest), other in zip(row, predicted, strict=True)
        ]
        for row in table
    ]
    pairs = sorted(Munkres().compute(make_cost_matrix(means)))
    scores = [score for row, column in pairs for score in table[row][column][0]]
    length = sum(table[row][column][1] for row, column in pairs)
    rows, columns = {row for row, _ in pairs}, {column for _, column in pairs}
    length += sum(_size(item) for index, item in enumerate(expected) if index not in rows)
    length += sum(_size(other) for index, other in enumerate(predicted) if index not in columns)
    nearest = [table[row][column][2] for row, column in sorted(pairs, key=lambda pair: pair[1])]
    nearest += [item for index, item in enumerate(expected) if index not in rows]
    return scores, length, nearest
