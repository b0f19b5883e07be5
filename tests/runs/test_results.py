"""Results are found by their contract, wherever runs and merges put them; what is broken is listed with its reason."""

import json
from pathlib import Path
from typing import Any

from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.result_metadata import METADATA_FILE
from mg_tui.runs.results import find_results, read_result


def _contract(folder: Path, **values: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / METADATA_FILE).write_text(json.dumps({"kind": "adapter", "base": {"name": "tiny"}, **values}))
    return folder


def test_of_runs_of_output_folders_of_merges_and_remembered(tmp_path: Path) -> None:
    home, output = tmp_path / "home", tmp_path / "out"
    values = {"base_model": "tiny", "dataset": "rows.jsonl"}
    inside = RunFolder.create(home, TrainingSpec.parse({**values, "name": "inside"}))
    outside = RunFolder.create(home, TrainingSpec.parse({**values, "name": "outside", "output_dir": str(output)}))
    RunFolder.create(home, TrainingSpec.parse({**values, "name": "without a result"}))
    _contract(inside.model_dir, created="2026-11-01T00:00:00+00:00", training={"eval_loss": 0.5})
    _contract(output, created="2026-11-03T00:00:00+00:00", run=outside.id)
    _contract(home / "models" / "whole", created="2026-11-02T00:00:00+00:00", kind="merged")
    elsewhere = _contract(tmp_path / "elsewhere", created="2026-10-01T00:00:00+00:00")
    (home / "models" / "being-written").mkdir()
    found = find_results(home, [elsewhere, tmp_path / "gone", output])
    assert [result.folder for result in found] == [output, home / "models" / "whole", inside.model_dir, elsewhere]
    assert [(result.name, result.run) for result in found] == [
        ("outside", outside.id), (None, None), ("inside", inside.id), (None, None)
    ]  # fmt: skip
    assert [result.is_adapter for result in found] == [True, False, True, True]
    assert found[2].training == {"eval_loss": 0.5} and found[2].base == "tiny"


def test_a_contract_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    folder = _contract(tmp_path / "x")
    (folder / METADATA_FILE).write_text("{")
    assert "cannot be read" in str(read_result(folder).problem)
    (folder / METADATA_FILE).write_text("[]")
    assert "not a JSON object" in str(read_result(folder).problem)
    _contract(folder, base="text", training=None, spec=[1], created="never", fields={"text": 1})
    result = read_result(folder)
    assert result.problem is None and result.base == "" and result.training == {} and result.fields == {"text": "1"}


def test_a_home_without_anything(tmp_path: Path) -> None:
    assert find_results(tmp_path / "nowhere") == []
