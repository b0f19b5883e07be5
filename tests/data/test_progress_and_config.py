"""What is counted while reading, and a configuration that a file cannot have."""

import json
from pathlib import Path

import pytest

from mg_tui.core.errors import DataError
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.from_spec import open_source_from_spec
from mg_tui.data.row_loader import load_rows
from mg_tui.preflight.dataset_check import read_options

ROWS = [{"text": f"what {n}", "response": "x"} for n in range(6)]


def _read(file: Path, **options: object) -> list[tuple[int, int]]:
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": str(file), **options})
    source, detected = open_source_from_spec(spec, cwd=file.parent, cache=file.parent / "cache")
    read = read_options(spec, detected, cwd=file.parent, cache=file.parent / "cache")
    counts: list[tuple[int, int]] = []
    for _rows in load_rows(source, read, progress=lambda done, total: counts.append((done, total))):
        pass
    return counts


def test_a_json_array_is_counted_in_rows(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(ROWS, indent=2))
    ((done, total),) = _read(file)
    assert done == 6 and total in (0, 6)


def test_json_lines_are_counted_in_bytes(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert _read(file) == [(file.stat().st_size, file.stat().st_size)]


def test_a_configuration_of_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    with pytest.raises(DataError, match="no configuration 'nonsense'"):
        _read(file, dataset_config="nonsense")
    spec = TrainingSpec.parse(
        {"base_model": "tiny", "dataset": "owner/name", "dataset_config": "en", "eval_dataset": str(file)}
    )
    open_source_from_spec(spec, evaluation=True, cwd=tmp_path, cache=tmp_path / "cache")
