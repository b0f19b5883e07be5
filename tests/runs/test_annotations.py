"""Names, notes and tags of runs: kept beside the spec, safe to show, and found by filters."""

from pathlib import Path

import pytest

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.annotations import (
    MAX_NOTE,
    NO_ANNOTATIONS,
    AnnotationReader,
    Annotations,
    change_tags,
    read_annotations,
    rename,
    set_note,
    set_tags,
)
from mg_tui.runs.filtering import matches_filter
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.store import RunStore, find_run, list_runs


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, TrainingSpec(base_model="tiny", dataset="/d", name="first"))


def test_they_are_kept_one_beside_the_other(folder: RunFolder) -> None:
    assert read_annotations(folder) == NO_ANNOTATIONS
    spec, journal = folder.spec_file.read_bytes(), folder.journal_file.read_bytes()
    rename(folder, " receipts ")
    set_note(folder, "two\nlines")
    change_tags(folder, add=["good", "#paper", "good"])
    change_tags(folder, add=["v2"], remove=["paper", "never there"[:5]])
    assert read_annotations(folder) == Annotations("receipts", "two\nlines", ("good", "v2"))
    assert (folder.spec_file.read_bytes(), folder.journal_file.read_bytes()) == (spec, journal)
    rename(folder, "")
    set_note(folder, "")
    set_tags(folder, [])
    assert read_annotations(folder) == NO_ANNOTATIONS


@pytest.mark.parametrize("tag", ["", "two words", "a,b", "x" * 33, "\x1b[31m", "tab\t"[:4]])
def test_what_is_no_tag(folder: RunFolder, tag: str) -> None:
    with pytest.raises(UsageError, match="is no tag"):
        set_tags(folder, [tag if tag != "tab\t" else "tab\tx"])
    assert not folder.annotations_file.exists()


def test_limits(folder: RunFolder) -> None:
    with pytest.raises(UsageError, match="at most 80 characters"):
        rename(folder, "n" * 81)
    with pytest.raises(UsageError, match="one line"):
        rename(folder, "a\nb")
    with pytest.raises(UsageError, match="this one has 2001"):
        set_note(folder, "n" * (MAX_NOTE + 1))
    with pytest.raises(UsageError, match="at most 20 tags"):
        set_tags(folder, [f"t{number}" for number in range(21)])


@pytest.mark.parametrize("text", ["", "[]", "{", '{"name": 3, "tags": "x", "note": null}', "x" * 70_000])
def test_a_file_that_means_nothing_is_no_annotation(folder: RunFolder, text: str) -> None:
    folder.annotations_file.write_text(text)
    assert read_annotations(folder) == NO_ANNOTATIONS


def test_hostile_texts_are_made_safe(folder: RunFolder) -> None:
    folder.annotations_file.write_text('{"name": "a\\u001b[31m\\nb", "note": "\\u202egnp", "tags": ["\\u0007x", 3]}')
    found = read_annotations(folder)
    assert "\x1b" not in str(found) and "\u202e" not in found.note and "\n" not in str(found.name)
    assert found.tags == ("\N{REPLACEMENT CHARACTER}x",)


def test_a_change_is_seen_and_the_file_is_read_only_then(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = AnnotationReader(folder)
    assert reader.read() == NO_ANNOTATIONS
    set_note(folder, "one")
    assert reader.read().note == "one"
    with monkeypatch.context() as patched:
        patched.setattr("mg_tui.runs.annotations.read_annotations", lambda _folder: pytest.fail("read again"))
        assert reader.read().note == "one"
    set_note(folder, "another")
    assert reader.read().note == "another"
    folder.annotations_file.unlink()
    assert reader.read() == NO_ANNOTATIONS


def test_a_folder_that_cannot_be_written_is_said(folder: RunFolder) -> None:
    folder.annotations_file.mkdir()
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        set_note(folder, "x")


def test_a_run_is_found_and_listed_by_its_new_name(folder: RunFolder, tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    assert store.refresh()[0].name == "first"
    rename(folder, "receipts")
    set_tags(folder, ["good"])
    set_note(folder, "with the new scanner")
    assert store.refresh()[0].name == "receipts"
    assert find_run(tmp_path, "receipts") == find_run(tmp_path, "first") == folder
    (run,) = list_runs(tmp_path)
    record = run.as_dict(0.0)
    assert (record["name"], record["tags"], record["note"]) == ("receipts", ["good"], "with the new scanner")
    for query, matches in (("#good", True), ("scanner receipts", True), ("#goo", False), ("-scanner", False)):
        assert run.matches(query) is matches, query


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ("", True),
        ("RECEIPTS", True),
        ("receipts failed", True),
        ("receipts -failed", False),
        ("receipts -finished", True),
        ("#good", True),
        ("#Good", True),
        ("#bad", False),
        ("-#good", False),
        ("-#bad", True),
        ("- #", True),
    ],
)
def test_filters(query: str, matches: bool) -> None:
    assert matches_filter(query, "receipts-lora - # failed", ("good",)) is matches
