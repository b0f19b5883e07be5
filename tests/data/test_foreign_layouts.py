"""Small samples of layouts that other tools write: what each row becomes."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.data.dataset import load_dataset

ANSWER = ("assistant", "A cup.")


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("row", "layout", "turns"),
    [
        ({"prompt": "What?", "completion": "A cup."}, "alpaca", [("user", "What?"), ANSWER]),  # TRL
        ({"prompt": "What?", "response": "A cup.", "images": ["a.png"]}, "alpaca", [("user", "What?"), ANSWER]),
        ({"query": "What?", "output": "A cup.", "image": "a.png"}, "alpaca", [("user", "What?"), ANSWER]),
        (
            {"conversation": [{"human": "Hi", "assistant": "Hello"}, {"human": "What?", "assistant": "A cup."}]},
            "texts", [("user", "Hi"), ("assistant", "Hello"), ("user", "What?"), ANSWER],
        ),
    ],
)  # fmt: skip
def test_a_row_of_another_tool(tmp_path: Path, row: dict[str, Any], layout: str, turns: list[tuple[str, str]]) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    dataset = load_dataset(tmp_path / "a.jsonl", cwd=tmp_path)
    assert not dataset.problems, dataset.problems
    assert dataset.detected_format is not None
    assert dataset.detected_format.layout == layout
    (example,) = dataset.examples
    assert [(message.role, message.text) for message in example.messages] == turns
    assert len(example.images) == ("image" in row or "images" in row)


def test_class_labels_of_a_table_are_answers_by_their_names(tmp_path: Path) -> None:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    features = {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    table = pa.table({"image": [{"bytes": png(), "path": "a.png"}] * 2, "label": [1, 0]})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
    dataset = load_dataset(tmp_path / "a.parquet", cache=tmp_path / "cache")
    assert [example.response for example in dataset.examples] == ["dog", "cat"]
    pq.write_table(table, tmp_path / "b.parquet")  # numbers without names are not answers
    assert "is a number (1)" in load_dataset(tmp_path / "b.parquet", cache=tmp_path / "cache").problems[0].what
