"""`generate-vision --batch`, prompts from stdin, and images by address, with a stand-in for the engine's program."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from mg_tui.cli.main import cli
from mg_tui.core.errors import GardenError, RunFailed, UsageError
from mg_tui.runs import engine_process


class FakeChild:
    """Answers each row with its prompt; dies before the row `dies_at`."""

    asked: list[dict[str, Any]]
    dies_at: int | None = None

    def __init__(self, program: str) -> None:
        FakeChild.asked = [{"program": program}]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        """Nothing to end."""

    def stream(self, op: str, **fields: Any) -> Iterator[dict[str, Any]]:
        FakeChild.asked.append({"op": op, **json.loads(json.dumps(fields))})
        if op == "load":
            names = ("model", "kind", "base_model", "family", "device", "dtype", "quantization")
            yield {"event": "ready", **dict.fromkeys(names, "x")}
        elif op == "generate":
            yield {"event": "answer", **ANSWER}
        else:
            for done, row in enumerate(fields["rows"], 1):
                if row["row"] == FakeChild.dies_at:
                    raise RunFailed("the engine process exited")
                said = {"row": row["row"], "answer": row["prompt"].upper(), "error": None, "seconds": 0.1}
                yield {"event": "progress", **said, "done": done, "total": len(fields["rows"])}
            yield {"event": "answers", "done": len(fields["rows"]), "ended": "end"}


ANSWER = {
    "answer": "A",
    "tokens": 1,
    "seconds": 1.0,
    "tokens_per_second": 1.0,
    "ended": "end",
    "images": [],
    "seed": None,
}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    written = [
        {"id": "x1", "prompt": "one", "image": "a.png"},
        {"question": "two", "images": ["a.png", str(tmp_path / "a.png")]},
        {"prompt": "three", "image": "gone.png"},
        {"prompt": "four"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in written))
    return path


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(engine_process, "EngineProcess", FakeChild)
    monkeypatch.setattr(FakeChild, "dies_at", None)
    monkeypatch.setenv("MODEL_GARDEN_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.setenv("MODEL_GARDEN_CACHE", str(tmp_path / "cache"))

    def call(*arguments: str, stdin: str = "") -> Result:
        return CliRunner().invoke(cli, ["generate-vision", "mine", *arguments], input=stdin)

    return call


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_row_has_a_line(command: Any, rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "answers.jsonl"
    result = command("--batch", str(rows), "--output", str(output), "--system-prompt", "Brief.", "--json")
    assert result.exit_code == 0, result.output
    found = {record["row"]: record for record in read(output)}
    assert {row: record["answer"] for row, record in found.items()} == {1: "ONE", 2: "TWO", 3: "", 4: "FOUR"}
    assert found[1]["id"] == "x1" and found[1]["images"] == ["a.png"] and found[1]["model"] == "mine"
    assert "gone.png" in found[3]["error"] and "error" not in found[1]
    asked = FakeChild.asked[-1]
    image = str(tmp_path / "a.png")
    assert asked["rows"][1] == {"row": 2, "prompt": "two", "images": [image, image]}
    assert asked["system_prompt"] == "Brief." and "batch_size" not in asked, "as many at once as memory allows"
    assert json.loads(result.stdout)["answered"] == 3
    assert command("--batch", str(rows), "--output", str(tmp_path / "more.jsonl"), "--batch-size", "3").exit_code == 0
    assert FakeChild.asked[-1]["batch_size"] == 3


def test_interrupted_it_goes_on_after_what_is_there(command: Any, rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "answers.jsonl"
    FakeChild.dies_at = 2
    first = command("--batch", str(rows), "--output", str(output))
    assert isinstance(first.exception, RunFailed)
    kept = output.read_bytes()
    output.write_bytes(kept + b'{"row": 2, "ans')  # a process that died while writing
    FakeChild.dies_at = None
    assert command("--batch", str(rows), "--output", str(output)).exit_code == 0
    assert [row["row"] for row in FakeChild.asked[-1]["rows"]] == [2, 4]
    assert output.read_bytes().startswith(kept)
    assert sorted(record["row"] for record in read(output)) == [1, 2, 3, 4]
    third = command("--batch", str(rows), "--output", str(output))
    assert third.exit_code == 0 and "0 answered" in third.stderr and "4 were there" in third.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [(["--temperature", "1"], "another sampling"), (["--max-new-tokens", "3"], "another sampling")],
)
def test_answers_drawn_otherwise_are_not_mixed(
    command: Any, rows: Path, tmp_path: Path, more: list[str], said: str
) -> None:
    output = tmp_path / "answers.jsonl"
    assert command("--batch", str(rows), "--output", str(output)).exit_code == 0
    result = command("--batch", str(rows), "--output", str(output), *more)
    assert isinstance(result.exception, UsageError) and said in str(result.exception)


def test_answers_to_other_rows_are_not_mixed(command: Any, rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "answers.jsonl"
    assert command("--batch", str(rows), "--output", str(output)).exit_code == 0
    rows.write_text(rows.read_text().replace('"one"', '"another"'))
    result = command("--batch", str(rows), "--output", str(output))
    assert isinstance(result.exception, UsageError) and "another row 1" in str(result.exception)
    output.write_text("no json\n")
    result = command("--batch", str(rows), "--output", str(output))
    assert isinstance(result.exception, UsageError) and "line 1" in str(result.exception)
    assert output.read_text() == "no json\n"


@pytest.mark.parametrize(
    ("row", "said"),
    [({"image": "a.png"}, "row 1 has no prompt"), ({"prompt": "p", "image": 3}, "no path or URL")],
)
def test_a_row_that_cannot_be_asked_is_named(command: Any, tmp_path: Path, row: dict[str, Any], said: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(row) + "\n")
    result = command("--batch", str(path), "--output", str(tmp_path / "out.jsonl"))
    assert isinstance(result.exception, UsageError) and said in str(result.exception)
    assert not (tmp_path / "out.jsonl").exists()


def test_a_prompt_for_all_rows(command: Any, tmp_path: Path, rows: Path) -> None:
    path = tmp_path / "plain.jsonl"
    path.write_text('{"image": "a.png"}\n')
    output = tmp_path / "out.jsonl"
    assert command("--batch", str(path), "--output", str(output), "--prompt", "what?").exit_code == 0
    assert read(output)[0]["prompt"] == "what?"


@pytest.mark.parametrize("given", [[], ["--prompt", "-"]])
def test_the_prompt_may_come_from_stdin(command: Any, rows: Path, given: list[str]) -> None:
    result = command("--image", str(rows.parent / "a.png"), *given, stdin="What is\nit?\n")
    assert result.exit_code == 0, result.output
    assert FakeChild.asked[-1]["prompt"] == "What is\nit?"
    assert command("--image", str(rows.parent / "a.png"), *given, stdin=" \n").exit_code == 2


def test_what_goes_with_what(command: Any, rows: Path, tmp_path: Path) -> None:
    for arguments in (
        ["--batch", str(rows)],
        ["--output", str(tmp_path / "x.jsonl"), "--image", "a.png"],
        ["--batch", str(rows), "--output", str(tmp_path / "x.jsonl"), "--image", "a.png"],
        ["--prompt", "p"],
    ):
        assert command(*arguments).exit_code == 2


def test_an_image_by_address_is_downloaded_within_limits(
    command: Any, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mg_tui.data.image_downloads import ImageDownloads

    refused = command("--image", "http://127.0.0.1:9/a.png", "--prompt", "p")
    assert isinstance(refused.exception, GardenError) and "127.0.0.1" in str(refused.exception)
    monkeypatch.setattr(ImageDownloads, "fetch", lambda _self, url: rows.parent / "a.png" if url else None)
    assert command("--image", "https://example.org/a.png", "--prompt", "p").exit_code == 0
    assert FakeChild.asked[-1]["images"] == [str(rows.parent / "a.png")]
