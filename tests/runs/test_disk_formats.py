"""The formats of checkpoints and results have one home each, which faces can import."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mg_tui.core.spec import TrainingSpec
from mg_tui.runs import checkpoint_format
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.result_metadata import METADATA_FILE
from mg_tui.runs.results import read_result

HEAVY = {"torch", "transformers", "numpy", "peft", "mg_tui.families", "mg_tui.data", "mg_tui.engine"}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("checkpoint_format", HEAVY | {"pydantic"}),
        ("versions", HEAVY | {"pydantic"}),
        ("outcome", HEAVY | {"pydantic"}),
        ("resume", HEAVY | {"pydantic"}),
        ("result_metadata", HEAVY),
        ("results", HEAVY),
    ],
)
def test_formats_are_read_without_the_engine(module: str, heavy: set[str]) -> None:
    code = f"import sys, mg_tui.runs.{module}; print(*({heavy!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def write_checkpoint(checkpoints: Path, step: int, content: bytes = b"weights") -> Path:
    folder = checkpoint_format.folder_of(checkpoints, step)
    folder.mkdir(parents=True)
    (folder / "w").write_bytes(content)
    files = {"w": (len(content), checkpoint_format.checksum(folder / "w"))}
    manifest = checkpoint_format.make_manifest(step, {"eval_loss": 1.0 / step}, files)
    (folder / checkpoint_format.MANIFEST_FILE).write_text(json.dumps(manifest))
    return folder


def test_the_manifest_as_it_is_on_disk(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, 12)
    assert folder.name == "step-000012"
    assert json.loads((folder / "checkpoint.json").read_text()) == {
        "schema": 1, "step": 12, "eval_loss": 1 / 12, "files": {"w": {"bytes": 7, "crc32": 0x1AD27358}}
    }  # fmt: skip


def test_by_size_alone_a_changed_byte_goes_unseen(tmp_path: Path) -> None:
    older, newer = write_checkpoint(tmp_path, 1), write_checkpoint(tmp_path, 2)
    (newer / "w").write_bytes(b"wEights")
    assert checkpoint_format.find_problem(newer, contents=False) is None
    assert checkpoint_format.find_problem(newer) == "the content of w is not what was written"
    assert checkpoint_format.list_valid(tmp_path, contents=False) == [older, newer]
    assert checkpoint_format.list_valid(tmp_path) == [older]
    best = checkpoint_format.best_valid(tmp_path)
    assert best is not None and (best.path, best.step) == (older, 1)


@pytest.mark.parametrize("manifest", ["{", "[]", "{}", '{"files": 1}', '{"files": {"w": 7}}', '{"files": {"w": {}}}'])
def test_a_manifest_of_another_form_is_a_problem(tmp_path: Path, manifest: str) -> None:
    folder = write_checkpoint(tmp_path, 1)
    (folder / checkpoint_format.MANIFEST_FILE).write_text(manifest)
    assert "checkpoint.json cannot be read" in str(checkpoint_format.find_problem(folder))


def test_a_result_of_a_newer_version_is_listed_and_nothing_is_assumed_of_its_kind(tmp_path: Path) -> None:
    record = {"schema": 99, "kind": "something new", "base": {"name": "tiny"}}
    (tmp_path / METADATA_FILE).write_text(json.dumps(record))
    result = read_result(tmp_path)
    assert (result.problem, result.base, result.is_adapter) == (None, "tiny", False)
    (tmp_path / METADATA_FILE).write_text(" " * (5 << 20))
    assert "more than" in str(read_result(tmp_path).problem)


def test_where_a_result_goes(tmp_path: Path) -> None:
    values = {"base_model": "tiny", "dataset": "rows.jsonl"}
    inside = RunFolder.create(tmp_path, TrainingSpec.parse(values))
    outside = RunFolder.create(tmp_path, TrainingSpec.parse({**values, "output_dir": str(tmp_path / "out")}))
    assert (inside.result_dir, outside.result_dir) == (inside.model_dir, tmp_path / "out")
