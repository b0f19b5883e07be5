"""`model-garden models`: results by score, and the trash."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mg_tui.cli.main import cli
from mg_tui.core.errors import UsageError
from tests.runs.test_model_trash import _evaluation, _result, _run


@pytest.fixture
def garden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in os.environ if name.startswith("MODEL_GARDEN_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["--home", str(tmp_path / "home"), "models", *arguments])

    return run


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    home = tmp_path / "home"
    found = {
        name: _result(home / "models" / name, created=f"2026-11-0{day}T00:00:00+00:00", training={"eval_loss": loss})
        for day, (name, loss) in enumerate((("old", 0.2), ("middle", 0.9), ("new", 0.5)), start=1)
    }
    _evaluation(home, "20261105-000000", str(found["old"]), anls=(0.75, True), cer=(0.5, False))
    _evaluation(home, "20261106-000000", str(found["middle"]), anls=(0.875, True), cer=(0.25, False))
    return found


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("time", ["new", "middle", "old"]),
        ("eval_loss", ["old", "new", "middle"]),
        ("anls", ["middle", "old", "new"]),
        ("cer", ["middle", "old", "new"]),
    ],
)
def test_sorted_the_best_first(garden, models, sort, names) -> None:
    listed = json.loads(garden("list", "--sort", sort, "--json").output)
    assert [Path(model["path"]).name for model in listed] == names
    assert {Path(m["path"]).name: m["scores"].get("anls", {}).get("score") for m in listed} == {
        "old": 0.75, "middle": 0.875, "new": None
    }  # fmt: skip


def test_a_table_and_an_unknown_metric(garden, models) -> None:
    output = garden().output
    assert output.startswith("NAME") and "anls=0.875 cer=0.250" in output and str(models["new"]) in output
    error = garden("list", "--sort", "anl").exception
    assert isinstance(error, UsageError) and "anls" in str(error)


def test_removed_and_restored(garden, models, tmp_path) -> None:
    assert "brings it back" in garden("rm", "--yes", str(models["old"])).output
    assert not models["old"].exists() and str(models["old"]) in garden("trash").output
    assert json.loads(garden("trash", "--json").output)[0]["folder"] == str(models["old"])
    assert garden("restore", "old").exit_code == 0 and models["old"].is_dir()
    garden("rm", "--yes", str(models["old"]))
    assert "deleted" in garden("trash", "--empty", "--yes").output
    assert "no models in the trash" in garden("trash").output
    garden("rm", "--yes", "--permanently", str(models["new"]))
    assert not models["new"].exists() and "no models in the trash" in garden("trash").output


def test_a_model_by_its_run(garden, tmp_path) -> None:
    run = _run(tmp_path / "home")
    assert isinstance(garden("rm", "--yes", "trees").exception, UsageError), "it has no result"
    _result(run.model_dir, run=run.id)
    assert garden("rm", "--yes", "trees").exit_code == 0 and not run.model_dir.exists() and run.path.is_dir()
    assert garden("restore", "last").exit_code == 0 and run.model_dir.is_dir()
    error = garden("rm", "--yes", "nothing-like-it").exception
    assert isinstance(error, UsageError) and "No model" in str(error)
