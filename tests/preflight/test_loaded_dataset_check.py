"""The check before a run: what stops it, what it warns of, and a tokenizer asked only where there is a doubt."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.config import Settings
from mg_tui.core.errors import DataError
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.row_problems import BadRows
from mg_tui.preflight import checks, loaded_dataset_check, token_counter
from mg_tui.preflight.loaded_dataset_check import format_warnings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Image.new("RGB", (168, 112)).save(tmp_path / "a.png")
    return tmp_path


def run_review(
    folder: Path, *rows: dict[str, Any], evaluation: list[dict[str, Any]] | None = None, **options: Any
) -> Any:
    for name, items in (("data.jsonl", rows), ("eval.jsonl", evaluation or [])):
        (folder / name).write_text("".join(json.dumps(item) + "\n" for item in items))
    values = {"base_model": "tiny", "dataset": "data.jsonl", **options}
    if evaluation is not None:
        values["eval_dataset"] = "eval.jsonl"
    return checks.run_preflight(TrainingSpec.parse(values), Settings(folder / "home", folder / "cache"), cwd=folder)


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {"text": f"Question {number}?", "image": "a.png", "response": f"Answer {number}.", **changes}


def forbid_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, examples: object) -> None:
        raise AssertionError("a tokenizer was asked")

    monkeypatch.setattr(token_counter.TokenCounterPool, "count", refuse)


def test_short_rows_need_no_tokenizer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_processes(monkeypatch)
    result = run_review(folder, row(1), row(2), row(1), evaluation=[row(2)])
    assert result.report.counts == {"row-repeated": 1, "eval-overlap": 3, "few-rows": 1}
    assert result.report.total_tokens is None
    assert format_warnings(result.report) == "duplicate row (1), train/eval overlap (3)" or (
        format_warnings(result.report) == "train/eval overlap (3), duplicate row (1)"
    )


def test_a_long_row_is_counted_and_named_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = row(2, text="what is this thing " * 300)
    with pytest.raises(
        BadRows, match=r"row 2: has [\d,]+ tokens, 24 of them for its image; the limit is 256"
    ) as caught:
        run_review(folder, row(1), long, max_seq_length=256)
    assert "--max-seq-length" in str(caught.value)
    # The second time its count is in the cache.
    forbid_processes(monkeypatch)
    with pytest.raises(BadRows, match="row 2: has"):
        run_review(folder, row(1), long, max_seq_length=256)
    report = run_review(folder, row(1), long, max_seq_length=256, on_bad_row="skip").report
    assert report.bad_rows() == [2]
    assert run_review(folder, row(1), long, max_seq_length=8192).report.bad_rows() == []
    monkeypatch.setattr(token_counter.TokenCounterPool, "count", lambda _self, examples: [(5000, 1) for _ in examples])
    with pytest.raises(BadRows, match=r"row 1: has 5,023 tokens"):
        run_review(folder, row(1), evaluation=[long], max_seq_length=256)


def test_a_image_the_family_refuses_stops_a_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_processes(monkeypatch)
    Image.new("RGB", (5000, 12)).save(folder / "thread.png")
    with pytest.raises(DataError, match=r"too long for Qwen2\.5-VL"):
        run_review(folder, row(1), row(2, image="thread.png"))


def test_of_very_many_rows_only_what_stops_a_run_is_looked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_processes(monkeypatch)
    monkeypatch.setattr(loaded_dataset_check, "_MAX_FULL_CHECK_ROWS", 2)
    assert run_review(folder, row(1), row(1), row(1), evaluation=[row(1)]).report.counts == {}
    Image.new("RGB", (5000, 12)).save(folder / "thread.png")
    with pytest.raises(DataError, match="too long"):
        run_review(folder, row(1), row(1), row(2, image="thread.png"))
