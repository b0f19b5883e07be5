"""Removed models: kept for 14 days, restored to where they were; scores of models from their evaluations."""

import json
import time
from pathlib import Path

import pytest

from mg_tui.core.errors import UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs import model_trash, trash
from mg_tui.runs.evaluations import EvaluationFolder
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.lock import RunLock
from mg_tui.runs.model_scores import read_model_scores, scores_of
from mg_tui.runs.result_metadata import METADATA_FILE
from mg_tui.runs.results import find_results


def _result(folder: Path, **values: object) -> Path:
    folder.mkdir(parents=True)
    (folder / METADATA_FILE).write_text(json.dumps({"kind": "adapter", "base": {"name": "tiny"}, **values}))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


def _run(home: Path, **values: object) -> RunFolder:
    return RunFolder.create(
        home, TrainingSpec.parse({"base_model": "tiny", "dataset": "rows.jsonl", "name": "trees", **values})
    )


def test_a_removed_model_comes_back_to_where_it_was(tmp_path: Path) -> None:
    home = tmp_path / "home"
    run = _run(home)
    result = _result(run.model_dir, run=run.id)
    removed = model_trash.remove_model(home, result)
    assert removed is not None and removed.origin == result and removed.name == run.id
    assert not result.exists() and find_results(home) == [] and run.journal_file.exists()
    assert trash.list_trash(home) == [], "it is no removed run"
    assert abs(removed.removed_at - time.time()) < 60
    assert model_trash.restore_model(removed) == result
    assert (result / "adapter_model.safetensors").read_bytes() == b"weights"
    assert model_trash.list_removed(home) == [] and [found.folder for found in find_results(home)] == [result]


def test_a_model_does_not_replace_another_when_restored(tmp_path: Path) -> None:
    result = _result(tmp_path / "models" / "one")
    model_trash.remove_model(tmp_path, result)
    _result(result)
    with pytest.raises(UsageError, match="Something else"):
        model_trash.restore_model(model_trash.find_removed(tmp_path, "one"))
    assert len(model_trash.list_removed(tmp_path)) == 1


def test_what_is_no_result_stays(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(UsageError, match="no result"):
        model_trash.remove_model(tmp_path, tmp_path / "photos")
    assert (tmp_path / "photos").is_dir()


def test_the_result_of_a_running_run_stays(tmp_path: Path) -> None:
    run = _run(tmp_path)
    result = _result(tmp_path / "out", run=run.id)
    lock = RunLock(run.lock_file).acquire()
    try:
        with pytest.raises(UsageError, match="is running"):
            model_trash.remove_model(tmp_path, result)
    finally:
        lock.release()
    assert result.is_dir() and model_trash.list_removed(tmp_path) == []


def test_models_are_found_in_the_trash_by_name_and_folder(tmp_path: Path) -> None:
    first, second = _result(tmp_path / "a" / "same"), _result(tmp_path / "b" / "same")
    for folder in (first, second):
        model_trash.remove_model(tmp_path, folder)
    with pytest.raises(UsageError, match="matches 2"):
        model_trash.find_removed(tmp_path, "same")
    assert model_trash.find_removed(tmp_path, str(first)).origin == first
    with pytest.raises(UsageError, match="No removed model"):
        model_trash.find_removed(tmp_path, "other")


def test_models_removed_14_days_ago_are_deleted(tmp_path: Path) -> None:
    model_trash.remove_model(tmp_path, _result(tmp_path / "models" / "old"))
    for days, left in ((13, 1), (15, 0)):
        stamp = int((time.time() - days * 86400) * 1000)
        for path in (tmp_path / "trash" / "models").iterdir():
            path.rename(path.with_name(f"{stamp}-old"))
        model_trash.empty_expired(tmp_path)
        assert len(model_trash.list_removed(tmp_path)) == left


def _evaluation(home: Path, stamp: str, model: str, **scores: tuple[float, bool]) -> None:
    folder = EvaluationFolder(home / "evaluations" / f"{stamp}-abcd")
    folder.results_dir.mkdir(parents=True)
    folder.spec_file.write_text(json.dumps({"model": model, "dataset": "/data/test.jsonl"}))
    metrics = [{"name": n, "score": value, "higher_is_better": better} for n, (value, better) in scores.items()]
    (folder.results_dir / "summary.json").write_text(json.dumps({"rows": 40, "metrics": metrics}))


def test_the_scores_of_a_model_are_those_of_its_newest_evaluation(tmp_path: Path) -> None:
    _evaluation(tmp_path, "20261101-000000", "/models/one", anls=(0.5, True), cer=(0.25, False))
    _evaluation(tmp_path, "20261103-000000", "20261030-000000-xyzw", anls=(0.75, True))
    _evaluation(tmp_path, "20261102-000000", "/models/one", anls=(0.625, True))
    (tmp_path / "evaluations" / "20261104-000000-torn" / "results").mkdir(parents=True)
    (tmp_path / "evaluations" / "20261104-000000-torn" / "results" / "summary.json").write_text("{")
    scores = read_model_scores(tmp_path)
    own = scores_of(scores, Path("/models/one"), ("20261030-000000-xyzw",))
    assert {name: score.value for name, score in own.items()} == {"anls": 0.75, "cer": 0.25}
    assert (own["cer"].higher_is_better, own["anls"].rows, own["anls"].dataset) == (False, 40, "/data/test.jsonl")
    assert scores_of(scores, Path("/models/one"), ())["anls"].value == 0.625
    assert scores_of(scores, Path("/models/other"), ()) == {}
