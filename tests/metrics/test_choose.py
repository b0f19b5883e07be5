"""The metrics that suit a dataset, and why."""

from typing import Any

import pytest

from mg_tui.core.errors import DataError
from mg_tui.metrics import Prediction
from mg_tui.metrics.choose import choose
from mg_tui.metrics.registry import load_metrics
from mg_tui.metrics.scoring import evaluate

LONG = "A brown dog runs along the beach while two children watch it from the pier"

CASES: dict[str, tuple[list[Any], str, str]] = {
    "short answers": ([f"answer {n}" for n in range(8)], "exact_match_folded", "short"),
    "labels": (["cat", "dog", "Cat"] * 8, "accuracy", "2 different texts (cat, dog): classification"),
    "counts": (["1", "2", 3, "12"] * 3, "count_exact", "counting"),
    "numbers": (["1.5", "20 %", "$3,000", "12 kg", 7.5], "relaxed_accuracy_plus", "numbers"),
    "years are numbers and no counts": (["1999", "2021", "1873"] * 3, "relaxed_accuracy_plus", "numbers"),
    "objects": (['{"total": 1}', {"total": 2}], "json_fields", "JSON"),
    "boxes": (['{"bbox_2d": [1, 2, 3, 4], "label": "cat"}', "<box>(1,2),(3,4)</box>"], "box_iou50", "boxes"),
    "an object with four numbers is no box": (['{"sizes": [1, 2, 3, 4], "name": "x"}'] * 3, "json_fields", "JSON"),
    "a sentence with a box is no box": ([f"{LONG} at [1, 2, 3, 4]"] * 3, "rouge_l", "long"),
    "sentences": ([f"{LONG} {n}" for n in range(49)], "rouge_l", "too few for CIDEr-D"),
    "many sentences": ([f"{LONG} {n}" for n in range(50)], "rouge_l", "at least 50 images"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_choice_and_its_reason(case: str) -> None:
    references, first, why = CASES[case]
    rows = [Prediction(row, "", (reference,)) for row, reference in enumerate(references, start=1)]
    choice = choose(rows)
    assert choice.names[0] == first
    assert why in choice.reason and choice.reason.endswith(".")
    assert ("cider_d" in choice.names) == (case == "many sentences")
    evaluation = evaluate(rows, load_metrics().named(choice.names))  # what is chosen can be computed
    assert [scores.metric.name for scores in evaluation.scores] == list(choice.names)


def test_several_references() -> None:
    vqa = choose([Prediction(1, "", ("a", "b", "c", "a")), Prediction(2, "", ("x",) * 10)])
    assert vqa.names[0] == "vqa_accuracy"
    assert "at least 4 references" in vqa.reason
    assert choose([Prediction(1, "", ("a", "b")), Prediction(2, "", ("x",) * 10)]).names[0] == "exact_match_folded"


def test_it_does_not_depend_on_the_answers() -> None:
    rows = [("yes", "12"), ("{}", "13")]
    chosen = {choose([Prediction(1, answer, (right,)) for right in ("red", "blue")]) for answer, _ in rows}
    assert len(chosen) == 1


def test_bad_references_are_named() -> None:
    with pytest.raises(DataError, match="no row"):
        choose([])
    with pytest.raises(DataError, match="row 2 has no reference"):
        choose([Prediction(1, "", ("a",)), Prediction(2, "", ())])
    with pytest.raises(DataError, match="row 2 has one that is no text"):
        choose([Prediction(1, "", ("a",)), Prediction(2, "", ({"a": 1},))])
