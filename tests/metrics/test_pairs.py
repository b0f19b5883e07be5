"""5,000 pairs of an answer and a reference: nothing crashes, bounds hold, empty and identical answers score right."""

import json
import math

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mg_tui.metrics import BoxFrame, Prediction
from mg_tui.metrics.contract import Metric
from mg_tui.metrics.registry import BUILT_IN
from mg_tui.metrics.scoring import score
from mg_tui.metrics.uncertainty import intervals

PAIRS = 5000
RUNS = settings(max_examples=PAIRS // 4, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
SOME = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)

LIKELY = st.sampled_from(
    [
        *"a the yes no none 0 1 2 -1 3.5 5% $10 1,000 1e400 nan inf . ! ' { } [ ] ``` 's 猫 é ß İ 😀".split(),
        *('"', "\\", "\n", "\t", "\u200b", " "),
    ]
)
TEXT = st.one_of(st.text(max_size=40), st.lists(LIKELY, max_size=8).map(" ".join), st.lists(LIKELY).map("".join))
NUMBER = st.one_of(
    st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([10**400, -(10**400), 0, -0.0])
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBER, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=4)),
    max_leaves=12,
)
COORDINATE = st.one_of(st.integers(-2000, 2000), st.floats(-1e6, 1e6, allow_nan=False))
BOX = st.lists(COORDINATE, min_size=4, max_size=4)
# Where an identical answer has the best score. CIDEr-D has no such answer: its best depends on the other rows.
IDENTICAL = {metric.name for metric in BUILT_IN} - {"cider_d", "json_valid"}


def check(metric: Metric, answer: str, references: tuple[object, ...], *, identical: bool = False) -> None:
    boxes = metric.reference == "boxes" and not identical
    frame = BoxFrame("thousandths", "pixels", image=(640, 480)) if boxes else None
    references = references * metric.minimum_references
    rows = max(1, metric.minimum_images)
    predictions = [Prediction(row, answer, references, (f"{row}",), frame) for row in range(1, rows + 1)]
    scores = score(predictions, metric)
    low, high = metric.bounds
    assert all(low <= value <= high for value in scores.values)
    assert low <= scores.aggregate <= high or math.isclose(scores.aggregate, high)
    if identical and metric.name in IDENTICAL:
        best = high if metric.higher_is_better else low
        assert math.isclose(scores.values[0], best, abs_tol=1e-9), (metric.name, answer, scores.values)
        assert math.isclose(scores.aggregate, best, abs_tol=1e-9), (metric.name, answer)
    elif not answer.strip() and not any(isinstance(one, str) and not one.strip() for one in references):
        if metric.higher_is_better:
            assert scores.values[0] == 0, (metric.name, references)
        else:
            assert scores.values[0] >= 1, (metric.name, references)


TEXTUAL = [metric for metric in BUILT_IN if metric.reference in ("text", "label")]
STRUCTURED = [metric for metric in BUILT_IN if metric.reference == "json"]
COUNTED = [metric for metric in BUILT_IN if metric.reference == "count"]
BOXED = [metric for metric in BUILT_IN if metric.reference == "boxes"]


@RUNS
@given(TEXT, TEXT)
def test_any_texts(answer: str, reference: str) -> None:
    for metric in TEXTUAL:
        check(metric, answer, (reference,))
        check(metric, reference, (reference,), identical=True)
        check(metric, "", (reference,))


@RUNS
@given(st.one_of(JSON.map(lambda value: json.dumps(value, ensure_ascii=False)), TEXT), JSON)
def test_any_json(answer: str, reference: object) -> None:
    for metric in STRUCTURED:
        text = json.dumps(reference)
        if isinstance(reference, str):
            reference = text  # a reference that is a text is read as JSON
        check(metric, answer, (reference,))
        check(metric, text, (reference,), identical=True)
        check(metric, "", (text,))


@RUNS
@given(TEXT, st.integers(0, 10**14))
def test_any_counts(answer: str, reference: int) -> None:
    for metric in COUNTED:
        check(metric, answer, (reference,))
        check(metric, str(reference), (str(reference),), identical=True)
        check(metric, "", (reference,))


@RUNS
@given(st.one_of(TEXT, BOX.map(json.dumps), st.lists(BOX, max_size=4).map(json.dumps)), BOX)
def test_any_boxes(answer: str, reference: list[float]) -> None:
    for metric in BOXED:
        check(metric, answer, (reference,))
        check(metric, json.dumps(reference), (json.dumps(reference),), identical=True)
        check(metric, "", (reference,))


@SOME
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=12))
def test_any_evaluation_has_intervals(pairs: list[tuple[str, str]]) -> None:
    predictions = [Prediction(row, answer, (reference,)) for row, (answer, reference) in enumerate(pairs, start=1)]
    usable = [metric for metric in TEXTUAL if metric.minimum_references == 1 and not metric.minimum_images]
    scores = [score(predictions, metric) for metric in usable]
    for one, interval in zip(scores, intervals(scores, resamples=100), strict=True):
        low, high = one.metric.bounds
        assert low <= interval.low <= interval.high <= high * (1 + 1e-9), one.metric.name
