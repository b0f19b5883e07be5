"""`runs rename`, `note`, `tag`, and lists by filter and column."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mg_tui.cli.main import cli
from mg_tui.core.errors import UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.annotations import read_annotations
from mg_tui.runs.folder import RunFolder


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunFolder]:
    monkeypatch.setenv("MODEL_GARDEN_CONFIG", str(tmp_path / "own.toml"))
    names = ("receipts", "signs")
    return [RunFolder.create(tmp_path, TrainingSpec(base_model="tiny", dataset="/d", name=name)) for name in names]


def runs(folder: RunFolder, *arguments: str) -> Result:
    result = CliRunner().invoke(cli, ["--home", str(folder.home), "runs", *arguments])
    if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_name_a_note_and_tags(folders: list[RunFolder]) -> None:
    first, _ = folders
    assert "is now called paper v2" in runs(first, "rename", "receipts", "paper v2").stderr
    assert "has the note" in runs(first, "note", "paper v2", "the new scanner").stderr
    assert "has #good #paper" in runs(first, "tag", "paper v2", "good", "#paper").stderr
    assert "has #paper" in runs(first, "tag", "receipts", "good", "--remove").stderr
    assert runs(first, "note", "paper v2").stdout == "the new scanner\n"
    page = runs(first, "show", "paper v2").stdout
    assert "name     paper v2\n" in page and "tags     #paper\n" in page and "note     the new scanner\n" in page
    assert "has no note now" in runs(first, "note", "paper v2", "").stderr
    assert runs(first, "note", "paper v2").stdout == ""


def test_a_note_is_written_in_the_editor(folders: list[RunFolder], tmp_path: Path, monkeypatch) -> None:
    editor = tmp_path / "editor.sh"
    editor.write_text('#!/bin/sh\nprintf "two\\nlines\\n" > "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.delenv("VISUAL", raising=False)
    runs(folders[0], "note", "receipts", "--edit")
    assert read_annotations(folders[0]).note == "two\nlines"
    with pytest.raises(UsageError, match="cannot be combined"):
        runs(folders[0], "note", "receipts", "x", "--edit")


def test_the_list_has_what_was_given_and_what_is_asked_for(folders: list[RunFolder]) -> None:
    first, second = folders
    assert runs(first, "list").stdout.split("\n")[0].split() == ["ID", "STATE", "STEP", "LOSS", "TIME", "ETA", "MODEL"]
    runs(first, "rename", "receipts", "paper")
    runs(first, "tag", "paper", "good")
    heading, *lines = runs(first, "list").stdout.splitlines()
    assert heading.split()[:2] == ["ID", "NAME"] and "TAGS" in heading
    assert any("paper" in line and "#good" in line for line in lines)
    asked = runs(first, "list", "--columns", "name, dataset,tags").stdout.splitlines()
    assert asked[0].split() == ["NAME", "DATASET", "TAGS"]
    assert sorted(line.split() for line in asked[1:]) == [["paper", "/d", "#good"], ["signs", "/d"]]
    with pytest.raises(UsageError, match="no column 'tag'; did you mean tags"):
        runs(first, "list", "--columns", "tag")
    assert second.id not in runs(first, "list", "--filter", "#good").stdout
    assert "No run matches #bad" in runs(first, "list", "--filter", "#bad").stderr
    listed = json.loads(runs(first, "list", "--filter", "-paper", "--json").stdout)
    assert [run["id"] for run in listed] == [second.id]


def test_a_saved_filter(folders: list[RunFolder], tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('[filters]\nroad = "signs -failed"\n')
    listed = runs(folders[0], "list", "--saved", "road").stdout
    assert folders[1].id in listed and folders[0].id not in listed
    with pytest.raises(UsageError, match="no saved filter 'rode'") as caught:
        runs(folders[0], "list", "--saved", "rode")
    assert caught.value.hint == "saved filters: road"
