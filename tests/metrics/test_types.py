"""Numbers, JSON, labels and boxes; and references that a metric does not take."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from mg_tui.core.errors import DataError, UsageError
from mg_tui.metrics import BoxFrame, Prediction
from mg_tui.metrics.boxes import boxes_in, iou
from mg_tui.metrics.contract import Scores
from mg_tui.metrics.numeric import count_in
from mg_tui.metrics.registry import BUILT_IN, load_metrics
from mg_tui.metrics.scoring import evaluate, score

Value = Callable[[str, str, Any], float]
Run = Callable[..., Scores]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("3", 3),
        ("There are 3 dogs.", 3),
        ("three", 3),
        ("I see two cats", 2),
        ("3 dogs, 3 in all", 3),
        ("3 or 4", None),
        ("one of the two", None),
        ("none", 0),
        ("No", 0),
        ("no idea", None),
        ("1,000", 1000),
        ("3.5", None),
        ("dogs", None),
        ("", None),
        ("twenty", 20),
        ("9" * 400, None),
    ],
)
def test_the_count_in_an_answer(text: str, count: int | None) -> None:
    assert count_in(text) == count


def test_counting(scores_of: Run) -> None:
    rows = [("3", "3"), ("five", 4), ("many", "7"), ("", "0"), ("12 apples", "2")]
    assert scores_of("count_exact", *rows).values == (1, 0, 0, 0, 0)
    assert scores_of("count_within_1", *rows).values == (1, 1, 0, 0, 0)
    error = scores_of("count_error", *rows)
    assert error.values == (0, 1, 7, 1, 10)  # an empty answer is never right, even where 0 is
    assert error.aggregate == pytest.approx(19 / 5)
    assert error.details == {"median": 1, "answers_without_a_number": 2}


def test_json_is_valid_only_as_a_whole(scores_of: Run) -> None:
    answers = ['{"a": 1}', '```json\n{"a": 1}\n```', '{"a": NaN}', 'Here: {"a": 1}', "", "[" * 5000, '{"a": 1', "3"]
    scores = scores_of("json_valid", *[(answer, {"a": 1}) for answer in answers])
    assert scores.values == (1, 0, 0, 0, 0, 0, 0, 1)
    assert scores.details == {"valid_in_a_code_fence": 1}


def test_fields(scores_of: Run) -> None:
    right = {"date": "2024-01-02", "total": 12.5, "paid": True, "items": [{"name": "Bolt"}, {"name": "Nut"}]}
    same = {"items": [{"name": " bolt"}, {"name": "NUT"}], "paid": True, "total": "12.50", "date": "2024-01-02"}
    half = {"date": "2024-01-03", "total": 12.5, "paid": 1, "items": [{"name": "Bolt"}], "extra": 1}
    scores = scores_of("json_fields", (json.dumps(same), right), (json.dumps(half), json.dumps(right)), ("x", right))
    assert scores.values == pytest.approx((1, 2 / 5, 0))
    assert scores.details["fields_not_in_the_reference"] == 1
    assert scores.details["fields"]["items[].name"] == {"accuracy": 0.5, "rows": 6}
    assert next(iter(scores.details["fields"])) == "date"  # the worst first; of equals by name


def test_numbers_are_texts_and_truth_values_are_not(value_of: Value) -> None:
    assert value_of("exact_match", "5", 5) == 1
    assert value_of("exact_match", "0.5", 0.5) == 1
    for wrong in (True, None, {"a": 1}, ["a"]):
        with pytest.raises(DataError, match="the reference of row 1 is not a text"):
            value_of("anls", "x", wrong)


@pytest.mark.parametrize(
    ("name", "wrong", "what"),
    [
        ("json_fields", "no JSON", "not JSON"),
        ("anls_star", "{'a': 1}", "not JSON"),
        ("count_exact", "several", "not a count"),
        ("count_error", 2.5, "not a count"),
        ("count_error", -1, "not a count"),
        ("box_iou", "left of the door", "not a box"),
    ],
)
def test_a_reference_of_another_type_names_its_row(scores_of: Run, name: str, wrong: Any, what: str) -> None:
    good = {"json_fields": "{}", "anls_star": "{}", "count_exact": "1", "count_error": "1", "box_iou": "[1, 2, 3, 4]"}
    with pytest.raises(DataError, match=what) as caught:
        scores_of(name, ("x", good[name]), ("x", wrong))
    assert caught.value.where == "row 2"
    assert caught.value.hint


def test_nothing_to_score() -> None:
    metrics = load_metrics().named(["anls"])
    with pytest.raises(DataError, match="no row"):
        evaluate([], metrics)
    with pytest.raises(DataError, match="row 7 has no reference"):
        evaluate([Prediction(7, "x", ())], metrics)
    with pytest.raises(UsageError, match="no metric was chosen"):
        evaluate([Prediction(7, "x", ("y",))], [])
    with pytest.raises(UsageError, match="there is no metric 'anl'") as caught:
        load_metrics().named(["anl"])
    assert "anls" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="named twice"):
        load_metrics().named(["anls", "anls"])


def test_classification(scores_of: Run) -> None:
    rows = [
        ("Cat", "cat"),
        ("It is a dog.", "dog"),
        ("a cat or a dog", "dog"),
        ("", "cat"),
        ("cat", "dog"),
        ("concatenate", "cat"),
    ]
    scores = scores_of("accuracy", *rows)
    assert scores.values == (1, 1, 0, 0, 0, 0)
    assert scores.details["labels"] == ["cat", "dog", "(no label)"]
    assert scores.details["confusion"] == [[1, 0, 2], [1, 1, 1]]
    f1 = scores_of("macro_f1", *rows)
    assert f1.aggregate == pytest.approx((2 * 1 / (2 + 3) + 2 * 1 / (1 + 3)) / 2)
    assert f1.details["labels"]["dog"] == {"f1": 0.5, "rows": 3}


def test_a_label_within_a_label_is_not_named_twice(value_of: Value, scores_of: Run) -> None:
    rows = [("The form is not valid", "not valid"), ("valid", "valid")]
    assert scores_of("accuracy", *rows).values == (1, 1)
    with pytest.raises(DataError, match="classification takes one"):
        value_of("accuracy", "a", ("a", "b"))


@pytest.mark.parametrize(
    "text",
    [
        '{"bbox_2d": [10, 20, 30, 60], "label": "cat"}',
        '```json\n[{"bbox_2d": [10, 20, 30, 60], "label": "a cat"}]\n```',
        "[10, 20, 30, 60]",
        "[[10, 20, 30, 60]]",
        "The cat is at [10, 20, 30, 60].",
        "<|object_ref_start|>cat<|object_ref_end|><|box_start|>(10,20),(30,60)<|box_end|>",
        "<ref>cat</ref><box>(30,60),(10,20)</box>",
        '{"objects": [{"box": [10, 20, 30, 60]}]}',
    ],
)
def test_boxes_as_models_write_them(text: str) -> None:
    assert boxes_in(text) == [(10, 20, 30, 60)]


def test_overlap() -> None:
    assert iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert iou((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    assert iou((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert iou((1, 1, 1, 1), (1, 1, 1, 1)) == 1
    assert iou((1, 1, 1, 1), (0, 0, 2, 2)) == 0


def test_boxes_are_matched_and_inventions_cost(scores_of: Run) -> None:
    two = "[[0, 0, 10, 10], [20, 20, 30, 30]]"
    rows = [("[[20, 20, 30, 30], [0, 0, 10, 10]]", two), ("[0, 0, 10, 10]", two), (two, "[0, 0, 10, 10]"), ("", two)]
    assert scores_of("box_iou", *rows).values == (1, 0.5, 0.5, 0)
    assert scores_of("box_iou50", *rows).values == pytest.approx((1, 2 / 3, 2 / 3, 0))


@pytest.mark.parametrize(
    ("frame", "answer"),
    [
        (BoxFrame("pixels", "pixels"), "[100, 50, 300, 250]"),
        (BoxFrame("thousandths", "pixels", image=(400, 500)), "[250, 100, 750, 500]"),
        (BoxFrame("unit", "pixels", image=(400, 500)), "[0.25, 0.1, 0.75, 0.5]"),
        (BoxFrame("resized", "pixels", image=(400, 500), seen=(200, 250)), "[50, 25, 150, 125]"),
    ],
)
def test_boxes_are_compared_in_pixels_of_the_original(frame: BoxFrame, answer: str) -> None:
    (metric,) = (metric for metric in BUILT_IN if metric.name == "box_iou")
    prediction = Prediction(1, answer, ("[100, 50, 300, 250]",), boxes=frame)
    assert score([prediction], metric).values == pytest.approx((1,))
    other = Prediction(1, answer, ("[100, 50, 300, 250]",), boxes=BoxFrame(frame.answer, "pixels"))
    if frame.answer != "pixels":
        with pytest.raises(DataError, match="boxes of row 1 cannot be put into pixels"):
            score([other], metric)
