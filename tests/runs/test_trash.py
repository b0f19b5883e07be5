"""Removed runs: kept for 14 days, restored whole, and deleted when asked."""

import json
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from mg_tui.cli.main import cli
from mg_tui.core.errors import UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs import trash
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.remove import remove_run
from mg_tui.runs.store import find_run, run_folders


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": "rows.jsonl", "name": "trees"})
    return RunFolder.create(tmp_path / "home", spec)


def _files(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_removed_run_comes_back_as_it_was(run: RunFolder) -> None:
    before = _files(run.path)
    remove_run(run)
    assert run_folders(run.home) == []
    (removed,) = trash.list_trash(run.home)
    assert removed.id == run.id and abs(removed.removed_at - time.time()) < 60
    assert trash.restore_run(run.home, removed) == run
    after = _files(run.path)
    assert after.pop("lock", b"") == before.pop("lock", b"") and after == before
    assert trash.list_trash(run.home) == [] and find_run(run.home, "trees") == run


def test_a_run_does_not_replace_another_when_restored(run: RunFolder) -> None:
    remove_run(run)
    run.path.mkdir()
    with pytest.raises(UsageError, match="There is a run"):
        trash.restore_run(run.home, trash.find_removed(run.home, "last"))
    assert len(trash.list_trash(run.home)) == 1


def test_what_is_older_than_14_days_is_deleted(run: RunFolder) -> None:
    remove_run(run)
    for days, left in ((13, 1), (15, 0)):
        stamp = int((time.time() - days * 86400) * 1000)
        for path in (run.home / trash.TRASH_FOLDER).iterdir():
            path.rename(path.with_name(f"{stamp}-{run.id}"))
        trash.empty_expired(run.home)
        assert len(trash.list_trash(run.home)) == left


def test_the_commands(run: RunFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("MODEL_GARDEN_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def garden(*arguments: str) -> str:
        result = CliRunner().invoke(cli, ["--home", str(run.home), "runs", *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    assert "brings it back" in garden("rm", "--yes", run.id)
    assert run.id in garden("trash")
    assert json.loads(garden("trash", "--json"))[0]["id"] == run.id
    assert run.id in garden("restore", run.id[-4:])
    assert run.path.exists()
    garden("rm", "--yes", "last")
    assert "deleted" in garden("trash", "--empty", "--yes")
    assert trash.list_trash(run.home) == [] and not run.path.exists()


def test_permanently_leaves_nothing(run: RunFolder) -> None:
    remove_run(run, permanently=True)
    assert not run.path.exists() and trash.list_trash(run.home) == []
    assert list((run.home / "runs").iterdir()) == []
