"""One style of tables, and no line twice."""

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from mg_tui.cli.main import cli
from mg_tui.cli.tables import format_table
from mg_tui.data.row_problems import BadRows, RowProblem

ROOT = Path(__file__).resolve().parents[2]


def test_a_table() -> None:
    lines = format_table(("name", "size"), [("a", "12"), ("longer", "3")], width=None, right=("size",))
    assert lines == ["NAME    SIZE", "a         12", "longer     3"]


def test_the_last_column_is_wrapped_or_cut() -> None:
    text = "words that are many and go on and on until they need another line"
    wrapped = format_table(("name", "what it is"), [("a", text)], width=40)
    assert all(len(line) <= 40 for line in wrapped) and " ".join(line[6:] for line in wrapped[1:]) == text
    assert [len(line) <= 20 for line in format_table(("name", "what it is"), [("a", text)], width=20)] == [True, True]


def test_wide_characters_are_two_columns() -> None:
    lines = format_table(("name", "is"), [("图像", "x"), ("plain", "y")], width=None)
    assert lines[1] == "图像   x" and lines[2] == "plain  y"


def test_no_other_style_is_left() -> None:
    done = subprocess.run(["git", "grep", "-l", "rich.table", "--", "mg_tui"], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [("cache",), ("plugins",), ("estimate", "--base-model", "tiny")])
def test_commands_have_headings_in_capitals(tmp_path: Path, arguments: tuple[str, ...], monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    result = CliRunner().invoke(cli, ["--home", str(tmp_path), *arguments], catch_exceptions=False)
    heading = next(line for line in result.stdout.splitlines() if line[:6] in ("CACHE ", "PLUGIN", "DEVICE"))
    assert heading == heading.upper() and not set("━─│╭") & set(result.stdout)


def test_the_same_problem_of_many_rows_is_one_line() -> None:
    error = BadRows([RowProblem(n, "q", "is missing; the row has a, b") for n in range(1, 21)], where="/data")
    lines = str(error).splitlines()
    assert [line for line in lines if "is missing" in line] == [
        '  rows 1, 2, 3, 4, 5, 6, 7, 8 and 12 more, field "q": is missing; the row has a, b'
    ]
    assert "20 rows of 20 are invalid" in lines[0]


def test_one_wrong_text_field_is_one_line(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"text": f"what {n}", "response": "x"}) + "\n" for n in range(20)))
    flags = ("--base-model", "tiny", "--dataset", str(data), "--text-field", "nope", "--image-field", "i")
    with pytest.raises(BadRows) as caught:
        CliRunner().invoke(cli, ["--home", str(tmp_path / "h"), "train-vision", *flags], catch_exceptions=False)
    assert sum('field "nope": is missing' in line for line in str(caught.value).splitlines()) == 1
