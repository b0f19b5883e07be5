"""Metrics of edit distance: ANLS, and the error rates of characters and words."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from mg_tui.metrics.contract import Array, Metric, MetricOutput, Prediction
from mg_tui.metrics.references import texts
from mg_tui.metrics.rows import best_of, per_row

ANLS_THRESHOLD = 0.5


def anls(answer: str, reference: str) -> float:
    """1 - NL where the normalized Levenshtein distance NL is below 0.5, else 0, in lower case, spaces collapsed.

    Biten et al., "Scene Text Visual Question Answering" (2019). At NL = 0.5 this is 0 as in the paper; lmms-eval,
    VLMEvalKit gives 0.5 there.
    """
    from rapidfuzz.distance import Levenshtein

    predicted, expected = " ".join(answer.lower().split()), " ".join(reference.lower().split())
    longest = max(len(predicted), len(expected))
    if not longest:
        return 1.0
    distance = Levenshtein.distance(predicted, expected) / longest
    return 1 - distance if distance < ANLS_THRESHOLD else 0.0


def _error_rate(unit: Literal["cer", "wer"]) -> Callable[[Sequence[Prediction]], MetricOutput]:
    def compute(predictions: Sequence[Prediction]) -> MetricOutput:
        import jiwer
        import numpy as np

        process: Callable[[str, str], Any] = jiwer.process_characters if unit == "cer" else jiwer.process_words
        statistics = []
        for prediction in predictions:
            pairs = []
            for reference in texts(prediction):
                done = process(reference, prediction.answer)
                edits = done.substitutions + done.deletions + done.insertions
                pairs.append((edits, done.hits + done.substitutions + done.deletions))
            statistics.append(min(pairs, key=lambda pair: (pair[0] / max(pair[1], 1), pair)))
        table = np.asarray(statistics, dtype=np.float64).reshape(-1, 2)
        return MetricOutput([edits / max(length, 1) for edits, length in statistics], table, _ratio)

    return compute


def _ratio(sums: Array) -> Array:
    import numpy as np

    return sums[..., 0] / np.maximum(sums[..., 1], 1.0)


def metrics() -> Iterator[Metric]:
    """The metrics of this module."""
    yield Metric(
        name="anls",
        version="1",
        title="ANLS",
        summary="1 - normalized edit distance to the nearest reference, 0 from a distance of 0.5 on.",
        source="Biten et al. 2019, the paper's rule at 0.5",
        compute=per_row(best_of(anls), texts),
        correct_at=0.5,
    )
    for name, title, what in (
        ("cer", "Character error rate", "Edited characters"),
        ("wer", "Word error rate", "Edited words"),
    ):
        yield Metric(
            name=name,
            version="1",
            title=title,
            summary=f"{what} divided by those of the nearest reference, over all rows; an empty answer has 1.",
            source="jiwer 4",
            compute=_error_rate("cer" if name == "cer" else "wer"),
            bounds=(0.0, math.inf),
            higher_is_better=False,
            correct_at=0.0,
        )
