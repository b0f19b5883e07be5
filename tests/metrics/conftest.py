"""Predictions and scores in few words."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mg_tui.metrics import Prediction
from mg_tui.metrics.contract import Scores
from mg_tui.metrics.registry import BUILT_IN
from mg_tui.metrics.scoring import score

Pair = tuple[str, Any]


def predictions(pairs: Sequence[Pair]) -> list[Prediction]:
    """Predictions of answers and references; a tuple is several references."""
    return [
        Prediction(row, answer, references if isinstance(references, tuple) else (references,))
        for row, (answer, references) in enumerate(pairs, start=1)
    ]


@pytest.fixture
def scores_of() -> Callable[..., Scores]:
    """The scores of a built-in metric over pairs of an answer and references."""

    def run(name: str, *pairs: Pair) -> Scores:
        (metric,) = (metric for metric in BUILT_IN if metric.name == name)
        return score(predictions(pairs), metric)

    return run


@pytest.fixture
def value_of(scores_of: Callable[..., Scores]) -> Callable[[str, str, Any], float]:
    """The score of one answer."""

    def run(name: str, answer: str, references: Any) -> float:
        return scores_of(name, (answer, references)).values[0]

    return run
