"""Metrics of classification: answers are mapped to the labels that references have."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from mg_tui.core.errors import DataError
from mg_tui.metrics.contract import Array, Metric, MetricOutput, Prediction
from mg_tui.metrics.normalize import folded
from mg_tui.metrics.references import texts

OTHER: Final = "(no label)"
# Above this, references are texts rather than labels, and a confusion matrix is unreadable long before.
MAX_LABELS: Final = 1000


class LabelSet:
    """The labels of an evaluation: the different references, case and space folded, in the order of the alphabet."""

    def __init__(self, predictions: Sequence[Prediction]) -> None:
        shown: dict[str, str] = {}
        self.expected: list[str] = []
        for prediction in predictions:
            references = texts(prediction)
            if len({folded(reference) for reference in references}) != 1:
                raise DataError(
                    f"row {prediction.row} has {len(references)} references, and classification takes one",
                    where=f"row {prediction.row}",
                    hint="exact_match takes several references",
                )
            label = folded(references[0])
            shown.setdefault(label, " ".join(references[0].split()))
            self.expected.append(label)
        if len(shown) > MAX_LABELS:
            raise DataError(
                f"the references have {len(shown):,} different texts",
                why=f"classification takes at most {MAX_LABELS:,} labels",
                hint="use exact_match_folded, anls or token_f1",
            )
        self.labels = sorted(shown)
        self.titles = [shown[label] for label in self.labels]
        self._index = {label: index for index, label in enumerate(self.labels)}
        # Longest first, so that "not valid" is seen before the "valid" in it.
        named = sorted((re.escape(label) for label in self.labels if label), key=len, reverse=True)
        self._named = re.compile(rf"(?<!\w)(?:{'|'.join(named)})(?!\w)") if named else None

    def index(self, label: str) -> int:
        """The place of a label."""
        return self._index[label]

    def of(self, answer: str) -> int | None:
        """The label an answer gives: it is the label, or names exactly one of them; None otherwise."""
        text = folded(answer)
        for candidate in (text, text.rstrip(".!")):
            if candidate in self._index:
                return self._index[candidate]
        named = set(self._named.findall(text)) if self._named is not None else set()
        return self._index[named.pop()] if len(named) == 1 else None


def _confusion(known: LabelSet, predictions: Sequence[Prediction]) -> tuple[list[int | None], list[int]]:
    return [known.of(prediction.answer) for prediction in predictions], [known.index(label) for label in known.expected]


def _accuracy(predictions: Sequence[Prediction]) -> MetricOutput:
    known = LabelSet(predictions)
    predicted, expected = _confusion(known, predictions)
    table = [[0] * (len(known.labels) + 1) for _ in known.labels]
    for answer, label in zip(predicted, expected, strict=True):
        table[label][len(known.labels) if answer is None else answer] += 1
    details: dict[str, Any] = {"labels": [*known.titles, OTHER], "confusion": table}
    return MetricOutput([float(a == b) for a, b in zip(predicted, expected, strict=True)], details=details)


def _macro_f1(predictions: Sequence[Prediction]) -> MetricOutput:
    import numpy as np

    known = LabelSet(predictions)
    predicted, expected = _confusion(known, predictions)
    # For each label: rows where answer and reference are it, where the answer is, where the reference is.
    table = np.zeros((len(predictions), 3, len(known.labels)))
    for row, (answer, label) in enumerate(zip(predicted, expected, strict=True)):
        table[row, 2, label] = 1
        if answer is not None:
            table[row, 1, answer] = 1
            table[row, 0, label] = float(answer == label)
    values = [float(label == other) for label, other in zip(predicted, expected, strict=True)]
    sums = table.sum(axis=0)
    per_label = np.divide(2 * sums[0], sums[1] + sums[2])
    details = {
        title: {"f1": float(f1), "rows": int(rows)}
        for title, f1, rows in zip(known.titles, per_label, sums[2], strict=True)
    }
    return MetricOutput(values, table.reshape(len(predictions), -1), combine_macro_f1, {"labels": details})


def combine_macro_f1(sums: Array) -> Array:
    """Mean F1 over the labels that occur, from sums of shape (..., 3 x labels): both, answers, references."""
    import numpy as np

    both, predicted, expected = np.split(sums, 3, axis=-1)
    below = predicted + expected
    occurs = below > 0
    f1 = np.where(occurs, 2 * both / np.where(occurs, below, 1.0), 0.0)
    return np.asarray(f1.sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1))


def metrics() -> Iterator[Metric]:
    """The metrics of this module."""
    yield Metric(
        name="accuracy",
        version="1",
        title="Accuracy",
        summary="The answer is the label, or names it and no other; with the confusion matrix.",
        source="by definition; labels are those of the references",
        compute=_accuracy,
        reference="label",
    )
    yield Metric(
        name="macro_f1",
        version="1",
        title="Macro F1",
        summary="Mean over the labels of their F1, so that rare labels count as much as frequent ones.",
        source="by definition",
        compute=_macro_f1,
        reference="label",
    )
