"""Weights of rows: read where a field is named for them, and bad ones are problems with their row."""

import json
from pathlib import Path
from typing import Any

import pytest

from mg_tui.data.dataset import FieldMap, load_dataset

FIELDS = FieldMap(weight="importance")


def write(folder: Path, *rows: str) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(f'{{"text": "?", "image": null, "response": "yes"{row}}}\n' for row in rows))
    return path


def test_weights_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, ', "importance": 0.5', ', "importance": 0', ', "importance": 3')
    assert [example.weight for example in load_dataset(path, FIELDS).examples] == [0.5, 0.0, 3.0]
    assert [example.weight for example in load_dataset(path).examples] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("-0.5", "a number (-0.5)"),
        ("null", "null"),
        ("true", "true"),
        (json.dumps("2"), "a text"),
        ("[1]", "a list"),
        ("1e999", "a number (inf)"),
        ("1" + "0" * 400, "a number (1000"),
    ],
    ids=["negative", "null", "true", "text", "list", "infinite", "too large"],
)
def test_what_is_no_weight_is_a_problem_of_its_row(tmp_path: Path, value: str, expected: str) -> None:
    dataset = load_dataset(write(tmp_path, ', "importance": 1', f', "importance": {value}'), FIELDS)
    (problem,) = dataset.problems
    assert (problem.row, problem.field) == (2, "importance")
    assert expected in str(problem) and "a non-negative number" in str(problem)
    assert [example.row for example in dataset.examples] == [1]


def test_a_row_without_its_weight_is_told_what_to_write(tmp_path: Path) -> None:
    (problem,) = load_dataset(write(tmp_path, ""), FIELDS).problems
    assert "importance" in str(problem) and "use 1" in str(problem.hint)


def test_a_weight_beside_other_mistakes_is_said_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    wrong: dict[str, Any] = {"text": "", "image": None, "response": "x", "importance": "a"}
    path.write_text(json.dumps(wrong) + "\n")
    assert {problem.field for problem in load_dataset(path, FIELDS).problems} == {"text", "importance"}
