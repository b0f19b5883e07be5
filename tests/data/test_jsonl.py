"""Lines that are no rows are problems with a number; files that are no JSON Lines are refused as a whole."""

import json
import os
from pathlib import Path

import pytest

from mg_tui.core.errors import DataError
from mg_tui.data import jsonl
from mg_tui.data.jsonl import read_raw, read_rows


def row_problem(path: Path, row: int = 1) -> str:
    problems = {r.number: str(r.problem) for r in read_rows(path) if r.problem is not None}
    return problems[row]


def file_refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(read_rows(path))
    return str(caught.value)


def test_rows_are_numbered_as_lines(rows) -> None:
    path = rows({"a": 1}, "", "  ", {"a": 2}, "{", {"a": 3})
    result = list(read_rows(path))
    assert [(row.number, row.values and row.values["a"]) for row in result] == [(1, 1), (4, 2), (5, None), (6, 3)]
    for row in result:
        assert read_raw(path, row.offset, row.length) == path.read_text().split("\n")[row.number - 1]


def test_a_last_line_without_newline_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}')
    assert [row.values for row in read_rows(path)] == [{"a": 1}, {"a": 2}]


def test_byte_order_marks_carriage_returns_and_unicode_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('\ufeff{"a": "x\u2028y\u0085z"}\r\n\r\n\ufeff{"a": "é"}\r\n'.encode())
    assert [(row.number, row.values) for row in read_rows(path)] == [(1, {"a": "x\u2028y\u0085z"}), (3, {"a": "é"})]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{oops}", "row 2: is invalid JSON: Expecting property name enclosed in double quotes at line 2, column 2"),
        ("   {oops}", "at line 2, column 5"),
        ('{"a": 1} {"a": 2}', "at line 2, column 10"),
        ("[1, 2]", "row 2: is a list, expected a JSON object"),
        ("null", "row 2: is null"),
        ("3", "row 2: is a number (3)"),
        ("true", "row 2: is true"),
        ('"text"', "row 2: is a text"),
        ('{"a": 1, "a": 2}', 'row 2: has a duplicate field "a"'),
        ('{"a": "x\0y"}', "row 2: is invalid JSON: Invalid control character"),
        ("\0\0\0", "row 2: is invalid JSON"),
        ('{"a": ' + "[" * 100_000 + "}", "row 2: is invalid JSON: nested too deeply"),
        ('{"a": ' + "9" * 5_000 + "}", "row 2: is invalid JSON: Exceeds the limit"),
        (b'{"a": "caf\xe9"}', "row 2: is not UTF-8: byte 11 of the line is 0xe9"),
    ],
)
def test_bad_lines(rows, line: str | bytes, expected: str) -> None:
    path = rows({"a": 0}, line, {"a": 3})
    assert expected in row_problem(path, 2)
    assert [row.number for row in read_rows(path)] == [1, 2, 3]


def test_hints(rows) -> None:
    problems = [row.problem for row in read_rows(rows({"a": 1}, "{", '"a": 1', "}", "{'a': 1}", '{"a": 1}\r{"a": 2}'))]
    assert problems[1] is not None
    assert "one line" in str(problems[1].hint)
    assert "double quotes" in str(problems[4] and problems[4].hint)
    assert "CR line endings" in str(problems[5] and problems[5].hint)


def test_bytes_that_are_not_utf8_are_kept_whole(rows) -> None:
    line = b'{"a": "\xff\xfe\x80"}'
    problem = next(iter(read_rows(rows(line)))).problem
    assert problem is not None
    assert problem.raw.encode("utf-8", "surrogateescape") == line
    assert json.loads(json.dumps(problem.raw)).encode("utf-8", "surrogateescape") == line


def test_an_endless_line_is_cut_and_said_to_be(rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_ROW_BYTES", 1000)
    path = rows({"a": 1}, '{"a": "' + "x" * 50_000 + '"}', {"a": 3})
    result = list(read_rows(path))
    assert [row.number for row in result] == [1, 2, 3]
    assert "has 50,010 bytes" in str(result[1].problem)
    assert result[2].values == {"a": 3}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the dataset is empty (0 bytes)"),
        (b"\n\n  \r\n", "only blank lines"),
        (b"\xef\xbb\xbf\n", "only blank lines"),
        (b'[{"a": 1}, {"a": 2}]', "is a JSON array"),
        (b'[\n  {"a": 1},\n  {"a": 2}\n]\n', "is a JSON array"),
        (b'[{"a": 1},\n{"a": 2}]\n', "is a JSON array"),
        ('{"a": 1}\n'.encode("utf-16"), "is UTF-16"),
        (b"\x1f\x8b\x08\0", "compressed with gzip"),
        (b"PAR1....", "is a Parquet file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    ],
)
def test_files_that_are_no_json_lines(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    refused = file_refusal(path)
    assert expected in refused
    assert str(path) in refused


def test_lists_as_rows_are_bad_rows_not_a_bad_file(rows) -> None:
    assert "row 1: is a list" in row_problem(rows("[1]", {"a": 1}))


def test_missing_folder_and_pipe(tmp_path: Path, rows) -> None:
    rows({"a": 1}, name="other.jsonl")
    assert "does not exist" in file_refusal(tmp_path / "none.jsonl")
    assert "the folder contains other.jsonl" in file_refusal(tmp_path / "none.jsonl")
    assert "is a folder" in file_refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert "pipe or a device" in file_refusal(tmp_path / "pipe.jsonl")
    assert "cannot read the dataset" in file_refusal(Path("a\0b"))
    assert "does not exist" in file_refusal(tmp_path / "other.jsonl" / "x.jsonl")


def test_no_permission(rows, monkeypatch: pytest.MonkeyPatch) -> None:
    path = rows({"a": 1})

    def refuse(self: Path, *_args: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "cannot read the dataset" in file_refusal(path)
    assert "why: Permission denied" in file_refusal(path)
