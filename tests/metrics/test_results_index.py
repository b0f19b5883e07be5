"""Rows of an evaluation by place: while they are written, once they are scored, and where the file is damaged."""

import json
from pathlib import Path

import pytest

from mg_tui.core.errors import DataError, EnvironmentProblem
from mg_tui.metrics.registry import load_metrics
from mg_tui.metrics.results import AnsweredRow, ResultsWriter, read_results
from mg_tui.metrics.results.index import RowIndex, read_summary

NAMES = ("exact_match_folded", "anls")


def _row(number: int, **more: object) -> AnsweredRow:
    values: dict[str, object] = {
        "question": f"q {number}",
        "answer": f"answer {number}" if number % 3 else "",
        "references": (f"answer {number}",),
        "columns": {"kind": f"k{number % 2}", "size": number},
    }
    return AnsweredRow(number, **{**values, **more})  # type: ignore[arg-type]


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    with ResultsWriter(tmp_path / "results", {"model": "m"}) as writer:
        for number in (3, 1, 2, *range(4, 41)):
            writer.add(_row(number, error="no image" if number == 7 else None))
        writer.finish(load_metrics().named(NAMES), rows=range(1, 41))
    return tmp_path / "results"


def _all(index: RowIndex, lines: int = 1_000) -> RowIndex:
    while index.refresh(lines):
        pass
    return index


@pytest.mark.parametrize("lines", [1, 7, 1_000])
def test_it_has_what_the_whole_results_have(finished: Path, lines: int) -> None:
    index, results = _all(RowIndex(finished / "rows.jsonl", NAMES, ["kind", "size"]), lines), read_results(finished)
    assert list(index.numbers) == [row.row for row in results.rows]
    assert {name: tuple(index.scores[name]) for name in NAMES} == results.scores
    assert index.columns["kind"] == [row.columns["kind"] for row in results.rows]
    assert list(index.errors) == [6] and index.damaged == 0
    for place, row in enumerate(results.rows):
        found = index.read(place)
        assert found.row == row and found.scores["anls"] == results.scores["anls"][place]
        assert index.place_of(row.row) == place
    assert index.place_of(41) is None
    with pytest.raises(IndexError):
        index.read(40)


def test_appended_answers_come_when_their_line_is_complete_and_only_once(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    index = _all(RowIndex(path))
    assert len(index) == 0  # there is no file yet
    path.write_bytes(_row(5).line() + _row(9).line()[:20])
    assert len(_all(index)) == 1
    with path.open("ab") as file:
        file.write(
            _row(9).line()[20:] + b"{}\n" + b"\xff\n" + b"[1]\n" + _row(5, error="again").line() + _row(2).line()
        )
    assert list(_all(index).numbers) == [5, 9, 2] and index.damaged == 3
    assert [index.read(place).row.row for place in range(3)] == [5, 9, 2] and not index.errors


def test_a_file_that_changed_is_an_error_of_the_row(finished: Path) -> None:
    index = _all(RowIndex(finished / "rows.jsonl", NAMES))
    lines = (finished / "rows.jsonl").read_bytes().splitlines(keepends=True)
    (finished / "rows.jsonl").write_bytes(b"".join([lines[1], *lines[1:]]))
    with pytest.raises(DataError, match="row 1 cannot be read any more"):
        index.read(0)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "it is not JSON"),
        ("[]", "it is not an object"),
        ('{"metrics": [], "groups": {}}', "rows is not a number"),
        ('{"rows": 1, "metrics": [{"name": "a"}], "groups": {}}', "metrics is not a list of scores"),
        ('{"rows": 1, "metrics": [], "groups": {"kind": [{"value": "a"}]}}', "groups is not a table of scores"),
    ],
)
def test_a_damaged_summary_says_what_is_wrong(tmp_path: Path, content: str, why: str) -> None:
    assert read_summary(tmp_path) is None
    (tmp_path / "summary.json").write_text(content)
    with pytest.raises(DataError) as raised:
        read_summary(tmp_path)
    assert why in str(raised.value.why) and "summary.json" in str(raised.value.where)


def test_the_summary_that_was_written_is_accepted(finished: Path) -> None:
    summary = read_summary(finished)
    assert summary is not None and summary["rows"] == 40
    assert summary == json.loads((finished / "summary.json").read_text())


def test_rows_are_found_by_words_of_their_texts_in_any_case(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [
        _row(3, question="Wie heißt die STRASSE?", answer="Große Straße"),
        _row(1, question="total?", references=({"sum": 12.5}, "twelve"), columns={"kind": "Invoice"}),
        _row(2, question="total?", answer="\x1b[31m", error="photo.jpg cannot be read"),
    ]
    path.write_bytes(b"".join(row.line() for row in rows))
    index = _all(RowIndex(path))

    def found(text: str, count: int = 3) -> list[int]:
        return list(index.search(text.casefold().split(), count))

    assert found("strasse") == found("GROSSE heisst") == [0]
    assert found("total?") == [1, 2] and found("total? invoice") == found("12.5") == [1]
    assert found("cannot be read") == [2] and found("total? strasse") == []
    assert found("total?", 2) == [1], "only the first places"
    assert list(index.search(["total?"], 3, lambda: False)) == [], "nobody wants it any more"
    path.unlink()
    with pytest.raises(EnvironmentProblem):
        found("total?")
