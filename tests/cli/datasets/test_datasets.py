"""`model-garden datasets`: output on stdout and stderr, and exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from mg_tui.cli import datasets as group
from mg_tui.cli.datasets import datasets
from mg_tui.cli.datasets.tokens import format_tokens
from mg_tui.config import Settings
from mg_tui.core.errors import DataError, SpecError, UsageError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Image.new("RGB", (168, 112), "red").save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {"text": f"Question {number}?", "image": "a.png", "response": f"Answer {number}.", **changes}


def write_rows(folder: Path, *rows: Any, name: str = "data.jsonl") -> None:
    (folder / name).write_bytes(b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in rows))


def invoke(folder: Path, *arguments: str, named: dict[str, Any] | None = None) -> Result:
    settings = Settings(folder / "home", folder / "cache", datasets=named or {})
    return CliRunner().invoke(datasets, arguments, obj=settings, catch_exceptions=False, env={"COLUMNS": "200"})


def test_show_selects_rows(folder: Path) -> None:
    write_rows(folder, *(row(number) for number in range(1, 41)))
    result = invoke(folder, "show", "data.jsonl", "--rows", "2:3")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "row 2", "  user      [a.png 168 x 112 PNG] Question 2?", "  assistant Answer 2.", "",
        "row 3", "  user      [a.png 168 x 112 PNG] Question 3?", "  assistant Answer 3.",
    ]  # fmt: skip
    assert "JSON Lines" in result.stderr

    def numbers(*arguments: str) -> list[int]:
        result = invoke(folder, "show", "data.jsonl", "--json", *arguments)
        return [json.loads(line)["row"] for line in result.stdout.splitlines()]

    assert numbers() == list(range(1, 11))
    assert numbers("--row", "30", "--row", "7") == [30, 7]
    assert numbers("--rows", "38:") == [38, 39, 40]
    assert numbers("--rows", ":2") == [1, 2]
    assert numbers("--rows", "5") == [5]
    assert numbers("--find", "ANSWER 3") == [3, *range(30, 40)]
    assert numbers("--find", "answer 3", "--rows", "31:33") == [31, 32, 33]


def test_show_filters_by_finding(folder: Path) -> None:
    write_rows(folder, row(1), row(2, image="none.png"), row(3), row(1), row(5, image="none.png"))

    def numbers(*arguments: str) -> list[int]:
        result = invoke(folder, "show", "data.jsonl", "--json", *arguments)
        return [json.loads(line)["row"] for line in result.stdout.splitlines()]

    assert numbers("--finding", "image-missing") == [2, 5]
    assert numbers("--finding", "image-missing", "--rows", "3:") == [5]
    assert numbers("--finding", "row-repeated") == [4]
    with pytest.raises(UsageError, match="no row has a finding of kind image-bomb"):
        numbers("--finding", "image-bomb")
    with pytest.raises(UsageError, match="unknown finding kind 'x'"):
        numbers("--finding", "x")


def test_json_has_raw_values(folder: Path) -> None:
    write_rows(folder, row(1, extra={"a": [1, None]}), row(2, response=5))
    first, second = (json.loads(line) for line in invoke(folder, "show", "data.jsonl", "--json").stdout.splitlines())
    assert first == {"row": 1, "values": row(1, extra={"a": [1, None]}), "problems": []}
    assert second["problems"][0]["field"] == "response"


def test_control_characters_of_rows_are_replaced(folder: Path) -> None:
    write_rows(folder, row(1, text="\x1b[31mred \u202e [bold]x[/bold]"), b'{"a": "\x1b]0;title\x07"', b"\xff\xfe\x1b")
    for arguments in (("show", "data.jsonl"), ("check", "data.jsonl"), ("show", "data.jsonl", "--find", "red")):
        result = invoke(folder, *arguments)
        assert not {"\x1b", "\x07", "\u202e"} & set(result.output), arguments
    assert "[bold]x[/bold]" in invoke(folder, "show", "data.jsonl", "--row", "1").stdout


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (("show", "none.jsonl"), DataError, "none.jsonl|not found|cannot be read"),
        (("show", "data.jsonl", "--row", "9"), DataError, "row 9 does not exist; the last row is 2"),
        (("show", "data.jsonl", "--rows", "x"), UsageError, "--rows takes A:B"),
        (("show", "data.jsonl", "--rows", "5:2"), UsageError, "is empty"),
        (("show", "data.jsonl", "--tokens"), UsageError, "requires a base model"),
        (("check", "data.jsonl", "--max-pixels", "many"), SpecError, "max_pixels"),
        (("split", "data.jsonl", "--share", "1"), UsageError, "is not between 0 and 1"),
        (("sample", "data.jsonl", "x.jsonl"), UsageError, "missing number of rows"),
        (("concat", "x.jsonl", "data.jsonl:0"), UsageError, "invalid weight 0"),
        (("create", "--prompt", "x"), UsageError, "--prompt requires --from-folder"),
        (("create", "--from-folder", ".", "--seed", "1"), UsageError, "synthetic images only"),
    ],
)
def test_invalid_arguments(folder: Path, arguments: tuple[str, ...], kind: type, message: str) -> None:
    write_rows(folder, row(1), row(2))
    with pytest.raises(kind, match=message):
        invoke(folder, *arguments)


def test_check_reports_findings_and_exits_with_1(folder: Path) -> None:
    write_rows(folder, row(1), row(2, image="none.png"), row(1))
    result = invoke(folder, "check", "data.jsonl")
    assert result.exit_code == 1
    assert "✗ image not found  1" in result.stdout
    assert 'row 2: image: "none.png" does not exist' in result.stdout
    assert "! duplicate row  1" in result.stdout
    assert result.stdout.rstrip().endswith("✗ 1 row would stop a run")
    assert "add --base-model" in result.stderr
    record = json.loads(invoke(folder, "check", "data.jsonl", "--json").stdout)
    assert (record["stops"], record["rows"], record["good_rows"]) == (True, 3, 2)
    assert record["counts"] == {"image-missing": 1, "row-repeated": 1, "few-rows": 1}
    write_rows(folder, row(1))
    good = invoke(folder, "check", "data.jsonl")
    assert good.exit_code == 0
    assert "✓ no errors" in good.stdout


def test_fix_writes_a_repaired_copy(folder: Path) -> None:
    write_rows(folder, row(1, response=1), row(2, image="none.png"), row(3))
    result = invoke(folder, "check", "data.jsonl", "--fix", "out.jsonl", "--json")
    assert result.exit_code == 0
    fixed = json.loads(result.stdout)["fixed"]
    assert (fixed["rows"], fixed["repaired"], fixed["rejected"]) == (2, 1, 1)
    assert json.loads((folder / "out.jsonl").read_text().splitlines()[0])["response"] == "1"
    with pytest.raises(UsageError, match="already exists"):
        invoke(folder, "check", "data.jsonl", "--fix", "out.jsonl")


def test_list_has_named_and_opened_datasets(folder: Path) -> None:
    write_rows(folder, row(1))
    assert "no datasets yet" in invoke(folder, "list").stderr
    invoke(folder, "show", "./data.jsonl")
    named = {"mine": {"path": str(folder / "data.jsonl"), "text_field": "response", "response_field": "text"}}
    listed = invoke(folder, "list", named=named)
    assert "mine" in listed.stdout and str(folder / "data.jsonl") in listed.stdout
    records = [json.loads(line) for line in invoke(folder, "list", "--json").stdout.splitlines()]
    assert [(record["dataset"], record["here"]) for record in records] == [(str(folder / "data.jsonl"), True)]
    result = invoke(folder, "show", "mine", named=named)
    assert "assistant Question 1?" in result.stdout


def test_split_sample_and_concat(folder: Path) -> None:
    write_rows(folder, *(row(number, image=None) for number in range(20)))
    record = json.loads(invoke(folder, "split", "data.jsonl", "--share", "0.25", "--json").stdout)
    assert (record["train"]["rows"], record["eval"]["rows"]) == (15, 5)
    assert Path(record["eval"]["dataset"]).name == "data-eval.jsonl"
    assert "wrote 4 rows" in invoke(folder, "sample", "data.jsonl", "some.jsonl", "--count", "4").stderr
    done = invoke(folder, "concat", "mix.jsonl", "some.jsonl:3", "data-eval.jsonl", "--json")
    assert json.loads(done.stdout)["rows"] == 17


def test_create(folder: Path) -> None:
    created = invoke(folder, "create", "--output", "synthetic.jsonl", "--num-examples", "2", "--json")
    assert json.loads(created.stdout)["examples"] == 2
    filled = invoke(folder, "create", "--from-folder", ".", "--output", "captions.jsonl")
    assert "Wrote 3 rows" in filled.stderr and "datasets check captions.jsonl" in filled.stderr


def test_show_tokens(folder: Path) -> None:
    write_rows(folder, row(1), row(2, image="none.png"))
    result = invoke(folder, "show", "data.jsonl", "--tokens", "--base-model", "tiny", "--json")
    tokens, error = (json.loads(line)["seen"] for line in result.stdout.splitlines())
    lines = "\n".join(str(line) for line in format_tokens(tokens))
    assert "[image 1, 168 x 112 resized to 168 x 112: 24 tokens]" in lines
    assert "⟦Answer 1.<|im_end|>⟧" in lines
    assert "24 of them image tokens" in lines
    assert "cannot be tokenized" in str(next(format_tokens(error)))
    # The check counts tokens in another process; both must agree.
    record = json.loads(invoke(folder, "check", "data.jsonl", "--base-model", "tiny", "--json").stdout)
    assert record["tokens"]["largest"] == tokens["tokens"]
    assert record["learned_tokens"]["largest"] == tokens["learned"]
    assert record["image_tokens"]["largest"] == tokens["image_tokens"] == 24


def test_commands_are_imported_when_they_are_called() -> None:
    code = (
        "import sys, mg_tui.cli.datasets, mg_tui.data.checks.runner, mg_tui.data.fix, mg_tui.data.subset\n"
        "import mg_tui.preflight.dataset_check\n"
        "print(sorted({'PIL','numpy','httpx','torch','transformers','pyarrow','datasets','textual','rich'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"
    for name, entry in group.COMMANDS.items():
        assert entry.help.endswith("."), name
