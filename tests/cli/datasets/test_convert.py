"""`model-garden datasets convert`: output on stdout and stderr, and exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from mg_tui.cli.datasets import datasets
from mg_tui.config import Settings
from mg_tui.core.errors import SpecError, UsageError
from mg_tui.data.row_problems import BadRows


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Image.new("RGB", (20, 14), "red").save(tmp_path / "a.png")
    rows = [{"q": f"What {n}?", "scan": "a.png", "answer": "A cup."} for n in range(3)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(folder: Path, *arguments: str, named: dict[str, Any] | None = None) -> Result:
    settings = Settings(folder / "home", folder / "cache", datasets=named or {})
    return CliRunner().invoke(datasets, ["convert", *arguments], obj=settings, catch_exceptions=False)


FIELDS = ("--text-field", "q", "--image-field", "scan", "--response-field", "answer")


def test_prints_the_detected_format_and_the_result(folder: Path) -> None:
    result = invoke(folder, "d.jsonl", "out.json", "--layout", "conversations", "--images", "copy", "--json", *FIELDS)
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "out": str(folder / "out.json"),
        "images": str(folder / "out_images"),
        "format": "json",
        "layout": "conversations",
        "rows": 3,
        "left_out": 0,
        "rejects": None,
        "lost": {},
    }
    assert "d.jsonl: JSON Lines, fields (sure)" in result.stderr
    assert "Wrote 3 rows to" in result.stderr
    assert "with images in out_images/ next to it" in result.stderr
    assert json.loads((folder / "out.json").read_text())[0]["images"] == ["out_images/a.png"]


def test_named_dataset(folder: Path) -> None:
    named = {"cups": {"path": "d.jsonl", "text_field": "q", "image_field": "scan", "response_field": "answer"}}
    result = invoke(folder, "cups", "out.csv", named=named)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert (folder / "out.csv").read_text().splitlines()[:2] == ["text,image,response", "What 0?,a.png,A cup."]


def test_unwritable_rows_stop_or_are_skipped(folder: Path) -> None:
    with (folder / "d.jsonl").open("a") as file:
        file.write(
            '{"q": "a", "scan": "\\u001b[31mnone.png", "answer": "b", "n": 3}\n{"q": "a", "scan": null, "answer": 5}\n'
        )
    with pytest.raises(BadRows) as caught:
        invoke(folder, "d.jsonl", "out.parquet", *FIELDS)
    assert 'row 5, field "answer": is a number (5)' in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert not (folder / "out.parquet").exists()
    result = invoke(folder, "d.jsonl", "out.parquet", "--on-bad-row", "skip", *FIELDS)
    assert "skipped 2 rows that could not be written; see out.parquet.rejects.jsonl" in result.stderr
    rejects = (folder / "out.parquet.rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in rejects] == [4, 5]


def test_invalid_arguments(folder: Path) -> None:
    for arguments, message in (
        (("d.jsonl", "out"), "cannot infer the format"),
        (("d.jsonl", "out.jsonl", "--to", "xlsx"), "xlsx"),
        (("d.jsonl", "out.jsonl", "--layout", "xml"), "'xml'"),
        (("d.jsonl", "d.jsonl"), "already exists"),
    ):
        with pytest.raises(UsageError) as caught:
            invoke(folder, *arguments, *FIELDS)
        assert message in str(caught.value)
    with pytest.raises(SpecError, match="dataset_layout: got 'xml'"):
        invoke(folder, "d.jsonl", "out.jsonl", "--dataset-layout", "xml")
