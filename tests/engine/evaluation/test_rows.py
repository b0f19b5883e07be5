"""What is evaluated on: references of every kind, columns, splits, and what cannot be used."""

import json
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import DataError, UsageError
from mg_tui.core.evaluation_spec import EvaluationSpec
from mg_tui.data.boxes import BoxFormat
from mg_tui.data.evaluation_rows import FieldNames, find_references, load_evaluation_rows
from mg_tui.engine.evaluation.answerer import ModelAnswer
from mg_tui.engine.evaluation.job import box_frame
from mg_tui.metrics.contract import BoxFrame
from mg_tui.metrics.results import read_results
from mg_tui.preflight.evaluation_outputs import write_rows as write_rows_of
from tests.engine.evaluation.conftest import MakeEvaluation, events, last, run, write_rows
from tests.openai_server import OpenAIServer


def load(path: Path, trained: FieldNames | None = None, **options: Any) -> Any:
    spec = EvaluationSpec.parse({"model": "m", "dataset": str(path), **options})
    return load_evaluation_rows(spec, cwd=path.parent, cache=path.parent / "cache", trained=trained)


def rows_of(values: list[Any], **more: Any) -> list[dict[str, Any]]:
    return [{"text": f"q{n}", "image": f"{n % 20}.png", "response": value, **more} for n, value in enumerate(values)]


@pytest.mark.parametrize(
    ("value", "references"),
    [
        ("yes", ("yes",)),
        (3, (3,)),
        (["a", "b"], ("a", "b")),
        ([{"answer": "a"}, {"answer": "b"}], ("a", "b")),
        ({"text": ["a", "b"], "answer_start": [1, 2]}, ("a", "b")),
        ({"total": 3}, ({"total": 3},)),
        ([1, 2, 30, 40], ([1, 2, 30, 40],)),
        ([{"bbox": [1, 2, 3, 4]}], ([{"bbox": [1, 2, 3, 4]}],)),
    ],
)
def test_references(value: Any, references: tuple[Any, ...]) -> None:
    assert find_references(value) == references


def test_every_reference_of_a_row_is_used(dataset: Path) -> None:
    answers: list[Any] = [["a cat", "cat", "cat"], "dog", 7, {"total": 3.5}]
    found = load(write_rows(dataset.with_name("many.jsonl"), rows_of(answers, kind="x", deep={"a": 1})))
    assert [row.references for row in found.rows] == [("a cat", "cat", "cat"), ("dog",), (7,), ({"total": 3.5},)]
    assert [row.example.response for row in found.rows] == ["cat", "dog", "7", '{"total": 3.5}']
    assert all(row.columns == {"kind": "x"} for row in found.rows)
    assert not found.dataset.problems


def test_the_fields_of_training_hold_where_the_spec_has_none(dataset: Path) -> None:
    rows = [{"ask": "q", "pic": "0.png", "say": "a", "text": "t", "response": "r"}]
    path = write_rows(dataset.with_name("own.jsonl"), rows)
    found = load(path, FieldNames("ask", "pic", "say"))
    assert found.rows[0].references == ("a",) and found.rows[0].columns == {"text": "t", "response": "r"}
    found = load(path, FieldNames("ask", "pic", "say"), response_field="response")
    assert found.rows[0].references == ("r",)


def rows_with_boxes(dataset: Path) -> Path:
    turns = [("user", "<image>Where is <ref-object>?"), ("assistant", '[{"bbox_2d": <bbox>}]')]
    messages = [{"role": role, "content": text} for role, text in turns]
    objects = {"ref": ["the cat"], "bbox": [[14, 7, 28, 21]]}
    row = {"messages": messages, "images": ["0.png"], "objects": objects}
    return write_rows(dataset.with_name("boxes.jsonl"), [row])


def test_boxes_beside_the_text_are_written_as_in_training(dataset: Path) -> None:
    path = rows_with_boxes(dataset)
    written = '[{"bbox_2d": [250, 125, 500, 375]}]'
    (row,) = load(path, FieldNames(boxes=BoxFormat("thousandths"))).rows
    assert row.references == (written,) and row.example.prompt[-1].text == "Where is the cat?"
    assert load(path, box_format="thousandths").rows[0].references == (written,)
    own = load(path, FieldNames(boxes=BoxFormat("thousandths")), box_format="pixels")
    assert own.rows[0].references == ('[{"bbox_2d": [14, 7, 28, 21]}]',)
    assert load(path).dataset.problems  # nobody says how they are written
    fields = {"text": "Where is <ref-object>?", "image": "0.png", "response": "at <bbox>"}
    plain = write_rows(
        dataset.with_name("plain.jsonl"), [{**fields, "objects": json.loads(path.read_text())["objects"]}]
    )
    assert load(plain, box_format="pixels").rows[0].references == ("at [14, 7, 28, 21]",)


def test_boxes_of_resized_images_need_the_limits_of_training(dataset: Path) -> None:
    path = rows_with_boxes(dataset)
    with pytest.raises(UsageError, match="not known"):
        load(path, box_format="resized")
    doubled: dict[str, Any] = {"min_pixels": 112 * 112, "max_pixels": 112 * 112}
    (trained,) = load(path, FieldNames(boxes=BoxFormat("resized", **doubled))).rows
    assert trained.references == ('[{"bbox_2d": [28, 14, 56, 42]}]',)
    assert load(path, box_format="resized", **doubled).rows[0].references == trained.references


def test_a_family_that_resizes_otherwise_is_seen_at_its_first_answer(dataset: Path) -> None:
    spec = EvaluationSpec.parse({"model": "m", "dataset": str(rows_with_boxes(dataset))})
    written = FieldNames(boxes=BoxFormat("resized", 112 * 112, 112 * 112))
    inputs = load_evaluation_rows(spec, cwd=dataset.parent, cache=dataset.parent / "cache", trained=written)
    row = inputs.rows[0]

    def frame(seen: tuple[int, int]) -> Any:
        return box_frame(spec, inputs, row, ModelAnswer(row.example, "", image_sizes=(((56, 56), seen),)))

    assert frame((112, 112)) == BoxFrame("resized", "resized", (56, 56), (112, 112))
    with pytest.raises(UsageError, match="sees an image"):
        frame((448, 448))


def test_answers_with_boxes_are_scored_in_their_units_and_their_rows_written(
    make: MakeEvaluation, dataset: Path, tmp_path: Path
) -> None:
    path = rows_with_boxes(dataset)
    with OpenAIServer(lambda _question: '[{"bbox_2d": [14, 7, 28, 21]}]') as server:
        folder = make(endpoint=server.url, dataset=str(path), box_format="thousandths", boxes="pixels")
        run(folder)
        other = make(endpoint=server.url, dataset=str(path), box_format="thousandths")  # answers in other units
        run(other)
    assert read_results(folder.results_dir).scores["box_iou"] == (1.0,)
    assert read_results(other.results_dir).scores["box_iou"] == (0.0,)
    written = write_rows_of(folder, {1: "Where is the cat?"}, tmp_path / "new.jsonl", cache=tmp_path / "cache")
    assert written.dataset.rows == 1 and json.loads((tmp_path / "new.jsonl").read_text())["objects"]["ref"] == [
        "the cat"
    ]


def test_a_few_questions_are_a_column(dataset: Path) -> None:
    rows = [{"text": ("what?", "who?")[n % 2], "image": f"{n % 20}.png", "response": "a"} for n in range(8)]
    found = load(write_rows(dataset.with_name("few.jsonl"), rows))
    assert [row.columns["text"] for row in found.rows[:2]] == ["what?", "who?"]
    assert "text" not in load(dataset).rows[0].columns


def test_a_conversation_is_scored_by_its_last_answer(dataset: Path) -> None:
    turns = [("user", "<image>one?"), ("assistant", "1"), ("user", "two?"), ("assistant", "2")]
    messages = [{"role": role, "content": text} for role, text in turns]
    path = write_rows(dataset.with_name("chat.jsonl"), [{"messages": messages, "images": ["0.png"], "topic": "x"}])
    (row,) = load(path).rows
    assert row.references == ("2",) and len(row.example.prompt) == 3 and row.columns.get("topic") == "x"


def test_the_split_that_was_held_out_is_taken(dataset: Path) -> None:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    folder = dataset.with_name("splits")
    folder.mkdir()
    image = (dataset.parent / "0.png").read_bytes()
    for split in ("train", "validation"):
        table = pa.table({"question": [split], "answer": ["a"], "image": [{"bytes": image, "path": None}]})
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    assert load(folder).rows[0].example.prompt[-1].text.strip() == "validation"
    assert load(folder, split="train").rows[0].example.prompt[-1].text.strip() == "train"
    with pytest.raises(DataError, match="unknown split 'dev'"):
        load(folder, split="dev")


def test_other_references_or_questions_are_other_rows(dataset: Path) -> None:
    before = load(dataset).fingerprint
    assert load(dataset).fingerprint == before
    assert load(dataset, limit=39).fingerprint != before
    assert load(dataset, system_prompt="Be brief.").fingerprint != before
    lines = dataset.read_text()
    for old, new in (("number 3", "number 33"), ("which number? 3", "which one? 3"), ("3.png", "4.png")):
        dataset.write_text(lines.replace(old, new, 1))
        assert load(dataset).fingerprint != before


@pytest.fixture
def url() -> Any:
    with OpenAIServer(lambda _question: "a") as server:
        yield server.url


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        (rows_of(["a", ""]), {}, "empty"),
        ([{"text": "q", "image": "0.png"}], {}, "response"),
        (rows_of(["a", {"b": 1}]), {}, "row 2 has one that is no text"),
        (rows_of(["several", "3"]), {"metrics": "count_exact"}, "row 1"),
        (rows_of(["{", "{}"]), {"metrics": "json_fields"}, "row 1"),
        (rows_of(["a", "b"]), {"metrics": "cider_d"}, "50 images"),
        (rows_of(["a", "b"]), {"metrics": "vqa_accuracy"}, "4 references"),
        (rows_of(["a", "b"]), {"metrics": "acuracy"}, "no metric 'acuracy'"),
        (rows_of(["a", "b"], kind="x"), {"group_by": "kinds"}, "no row has a column 'kinds'"),
        ([*rows_of(["a"]), {"text": "q", "image": "gone.png", "response": "a"}], {}, "gone.png"),
    ],
    ids=["empty", "none", "mixed", "count", "json", "few images", "few references", "metric", "column", "image"],
)
def test_bad_input_is_named_before_anything_is_asked(
    make: MakeEvaluation, dataset: Path, url: str, rows: list[Any], options: dict[str, Any], said: str
) -> None:
    folder = make(endpoint=url, dataset=str(write_rows(dataset.with_name("bad.jsonl"), rows)), **options)
    assert run(folder) == 2
    event = last(folder)
    assert event.kind == "failed" and event.data["exit_code"] == 2
    assert said in json.dumps(event.data)
    assert not folder.results_dir.exists()


def test_bad_rows_are_left_out_and_kept_aside(make: MakeEvaluation, dataset: Path, url: str) -> None:
    rows = [*rows_of(["a", "b", ""]), {"text": "q", "image": "gone.png", "response": "a"}]
    path = write_rows(dataset.with_name("some.jsonl"), rows)
    folder = make(endpoint=url, dataset=str(path), on_bad_row="skip")
    assert run(folder) == 0
    assert last(folder).data["steps"] == 2
    assert len(folder.skipped_rows_file.read_text().splitlines()) == 2
    assert [event.data["count"] for event in events(folder) if event.kind == "rows_skipped"] == [2]


def test_boxes_in_thousandths_are_scored_in_pixels(make: MakeEvaluation, dataset: Path) -> None:
    rows = rows_of(["[14, 14, 42, 28]"] * 3)  # of 56 pixels
    path = write_rows(dataset.with_name("boxes.jsonl"), rows)
    with OpenAIServer(lambda _question: "[250, 250, 750, 500]") as server:
        folder = make(endpoint=server.url, dataset=str(path), boxes="thousandths")
        assert run(folder) == 0
        assert last(folder).data["metrics"]["box_iou"] == 1
        folder = make(endpoint=server.url, dataset=str(path))
        assert run(folder) == 0
        assert last(folder).data["metrics"]["box_iou"] == 0


def test_an_evaluation_reads_rows_as_a_run_does(dataset: Path) -> None:
    rows = rows_of(["é"], hint="h")
    path = dataset.with_name("latin.json")
    path.write_bytes(json.dumps({"train": rows, "test": rows * 2}, ensure_ascii=False).encode("latin-1"))
    assert "--dataset-encoding" in str(load(path).dataset.problems[0].hint)
    with pytest.raises(DataError, match="several lists"):
        load(path, dataset_encoding="latin-1")
    found = load(path, dataset_encoding="latin-1", json_field="test", ignore_column=["hint"])
    assert not found.dataset.problems
    assert [row.references for row in found.rows] == [("é",), ("é",)]
