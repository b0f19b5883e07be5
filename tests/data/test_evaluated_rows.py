"""Rows of an evaluation written to a new dataset: every column kept, trainable, and never a row that was not meant."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.core.errors import DataError, UsageError
from mg_tui.core.evaluation_spec import EvaluationSpec
from mg_tui.data.dataset import load_dataset
from mg_tui.data.evaluated_rows import write_evaluated_rows
from mg_tui.data.evaluation_rows import FieldNames, load_evaluation_rows
from mg_tui.data.field_map import FieldMap


def _dataset(folder: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> Path:
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (32, 32), "red").save(folder / "red.png")
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _spec(dataset: Path, **more: Any) -> EvaluationSpec:
    return EvaluationSpec.parse({"model": "m", "dataset": str(dataset), **more})


def _write(spec: EvaluationSpec, numbers: list[int], out: Path, cwd: Path, **more: Any) -> Any:
    """As the dashboard does: by the questions that an evaluation recorded."""
    found = load_evaluation_rows(spec, cwd=cwd, cache=None, trained=more.get("trained"))
    asked = {row.example.row: row.example.prompt[-1].text.strip() for row in found.rows}
    return write_evaluated_rows(spec, {number: asked[number] for number in numbers}, out, cwd=cwd, cache=None, **more)


def test_rows_keep_their_bytes_beside_the_dataset_and_their_images_elsewhere(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": f"q {n}?", "image": "red.png", "response": f"a {n}", "id": n, "nested": {"x": [n]}} for n in range(9)
    ]
    dataset = _dataset(tmp_path / "data", rows)
    lines = dataset.read_text().splitlines()
    beside = _write(_spec(dataset), [7, 2], tmp_path / "data" / "hard.jsonl", tmp_path)
    assert beside.dataset.rows == 2 and beside.flags == ()
    assert beside.dataset.path.read_text().splitlines() == [lines[1], lines[6]]  # in the dataset's order
    elsewhere = _write(_spec(dataset), [2], tmp_path / "hard.jsonl", tmp_path).dataset
    assert json.loads(elsewhere.path.read_text()) == {**rows[1], "image": "data/red.png"}
    loaded = load_dataset(str(elsewhere.path), FieldMap(), cwd=tmp_path, cache=None)
    assert [example.response for example in loaded.examples] == ["a 1"] and not loaded.problems


def test_several_references_become_one_response_and_are_kept_beside_it(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "which?", "image": "red.png", "response": ["b", "a", "a"], "id": 1},
        {"text": "how many?", "image": "red.png", "response": 5, "id": 2},
        {"text": "what?", "image": "red.png", "response": "c", "id": 3},
        {"text": "what total?", "image": "red.png", "response": {"total": "7"}, "references": "mine"},
    ]
    dataset = _dataset(tmp_path, rows)
    written = _write(_spec(dataset), [1, 2, 3, 4], tmp_path / "hard.jsonl", tmp_path).dataset
    assert [json.loads(line) for line in written.path.read_text().splitlines()] == [
        {**rows[0], "response": "a", "references": ["b", "a", "a"]},
        {**rows[1], "response": "5", "references": 5},
        rows[2],
        {**rows[3], "response": '{"total": "7"}'},  # a column of that name is the user's
    ]
    loaded = load_dataset(str(written.path), FieldMap(), cwd=tmp_path, cache=None)
    assert len(loaded.examples) == 4 and not loaded.problems


def test_fields_that_the_model_was_trained_with_are_read_and_named(tmp_path: Path) -> None:
    rows = [{"frage": f"q {n}?", "bild": "red.png", "lösung": f"a {n}"} for n in range(4)]
    dataset = _dataset(tmp_path / "data", rows)
    trained = FieldNames("frage", "bild", "lösung")
    written = _write(_spec(dataset), [3], tmp_path / "hard.jsonl", tmp_path, trained=trained)
    assert json.loads(written.dataset.path.read_text()) == {**rows[2], "bild": "data/red.png"}
    assert written.flags == ('--text-field "frage"', '--image-field "bild"', '--response-field "lösung"')


def test_images_inside_of_rows_come_along(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    _dataset(tmp_path, [])
    image = {"bytes": (tmp_path / "red.png").read_bytes(), "path": "red.png"}
    table = pa.table({"text": ["a?", "b?"], "image": [image, image], "response": ["x", "y"], "id": [1, 2]})
    pq.write_table(table, tmp_path / "rows.parquet")
    spec, cache = _spec(tmp_path / "rows.parquet"), tmp_path / "cache"
    out = tmp_path / "new" / "hard.jsonl"
    written = write_evaluated_rows(spec, {2: "b?"}, out, cwd=tmp_path, cache=cache).dataset
    row = json.loads(written.path.read_text())
    assert row["id"] == 2 and (out.parent / row["image"]).is_file()
    loaded = load_dataset(str(out), FieldMap(), cwd=tmp_path, cache=None)
    assert len(loaded.examples) == 1 and not loaded.problems


def test_a_dataset_that_changed_gives_nothing(tmp_path: Path) -> None:
    rows = [{"text": f"q {n}?", "image": "red.png", "response": "a"} for n in range(4)]
    dataset, out = _dataset(tmp_path, rows), tmp_path / "hard.jsonl"
    asked = {2: "q 1?", 4: "q 3?"}
    _dataset(tmp_path, rows[:3])  # row 4 is gone
    with pytest.raises(DataError, match="row 4 of the dataset is not the row"):
        write_evaluated_rows(_spec(dataset), asked, out, cwd=tmp_path, cache=None)
    _dataset(tmp_path, rows[::-1])
    with pytest.raises(DataError, match="row 2 of the dataset is not the row"):
        write_evaluated_rows(_spec(dataset), asked, out, cwd=tmp_path, cache=None)
    with pytest.raises(UsageError, match="no row is marked"):
        write_evaluated_rows(_spec(dataset), {}, out, cwd=tmp_path, cache=None)
    assert not out.exists()
    out.write_text("mine\n")
    _dataset(tmp_path, rows)
    with pytest.raises(UsageError, match="already exists"):
        write_evaluated_rows(_spec(dataset), asked, out, cwd=tmp_path, cache=None)
    assert out.read_text() == "mine\n"
