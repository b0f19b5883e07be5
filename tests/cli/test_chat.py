"""`model-garden chat`: lines in, text out, with a stand-in for the engine's program."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from mg_tui.cli.main import cli
from mg_tui.core.errors import UsageError
from mg_tui.runs import engine_process


class FakeChild:
    """Answers every question with its own words."""

    asked: list[dict[str, Any]]
    fails: bool

    def __init__(self, program: str) -> None:
        FakeChild.asked, FakeChild.fails = [], False
        assert program == "mg_tui.engine.inference.generate"
        self.alive = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        """Nothing to end."""

    def send(self, op: str) -> None:
        FakeChild.asked.append({"op": op})

    def stream(self, op: str, **fields: Any) -> Iterator[dict[str, Any]]:
        FakeChild.asked.append({"op": op, **json.loads(json.dumps(fields))})
        if op == "load":
            yield {"event": "notice", "text": "assumed"}
            yield {"event": "ready"}
            return
        question = fields["messages"][-1]["text"]
        if question == "fail":
            raise UsageError("cannot say")
        yield {"event": "text", "text": "You said "}
        yield {"event": "text", "text": f"{question}\x1b[31m"}
        yield {"event": "answer", "answer": f"You said {question}", "ended": "length" if "long" in question else "end"}


@pytest.fixture
def image_file(tmp_path: Path) -> Path:
    path = tmp_path / "an image.png"
    Image.new("RGB", (8, 8)).save(path)
    return path


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(engine_process, "EngineProcess", FakeChild)
    monkeypatch.setenv("MODEL_GARDEN_CONFIG", str(tmp_path / "none.toml"))

    def type_lines(*lines: str, arguments: tuple[str, ...] = ()) -> Result:
        return CliRunner().invoke(cli, ["chat", "mine", *arguments], input="".join(f"{line}\n" for line in lines))

    return type_lines


def questions() -> list[dict[str, Any]]:
    return [asked for asked in FakeChild.asked if asked["op"] == "generate"]


def test_a_conversation_with_an_image(talk: Any, image_file: Path) -> None:
    result = talk(f"/image '{image_file}'", "what is it?", "and now?", arguments=("--max-new-tokens", "7"))
    assert result.exit_code == 0, result.output
    assert (
        result.stdout
        == "You said what is it?\N{REPLACEMENT CHARACTER}[31m\nYou said and now?\N{REPLACEMENT CHARACTER}[31m\n"
    )
    assert "assumed" in result.stderr
    first, second = questions()
    assert first["messages"] == [{"role": "user", "text": "what is it?", "images": [str(image_file)]}]
    assert [turn["role"] for turn in second["messages"]] == ["user", "assistant", "user"]
    assert second["messages"][0]["images"] == [str(image_file)] and second["messages"][2]["images"] == []
    assert first["max_new_tokens"] == 7 and first["temperature"] == 0


def test_reset_forgets_everything(talk: Any, image_file: Path) -> None:
    talk("one", f"/image '{image_file}'", "/reset", "two", "/quit", "three")
    assert [len(asked["messages"]) for asked in questions()] == [1, 1]
    assert questions()[1]["messages"][0] == {"role": "user", "text": "two", "images": []}


def test_an_error_of_a_line_is_said_and_the_talk_goes_on(talk: Any, tmp_path: Path) -> None:
    result = talk("/image nowhere.png", "/dance", "fail", "", "long", "/help", "/image 'open")
    assert result.exit_code == 0
    for said in ("nowhere.png", "unknown command /dance", "cannot say", "truncated", "/reset"):
        assert said in result.stderr
    assert [asked["messages"][-1]["text"] for asked in questions()] == ["fail", "long"]
    assert len(questions()[1]["messages"]) == 1  # what failed is forgotten


def test_a_conversation_is_saved_as_a_row_that_can_be_trained_on(talk: Any, image_file: Path, tmp_path: Path) -> None:
    from mg_tui.data.dataset import load_dataset

    file = tmp_path / "some where" / "talk.jsonl"
    result = talk(
        "what is it?", f"/save '{file}'", "and now?", f"/save '{file}'", arguments=("--image", str(image_file))
    )
    assert f"saved to {file}" in result.stderr
    dataset = load_dataset(file)
    assert not dataset.problems
    one, two = dataset.examples
    assert [message.role for message in one.messages] == ["user", "assistant"] and len(two.messages) == 4
    assert one.images[0].path == str(image_file) and one.messages[0].text == "what is it?"
    result = talk("/save /proc/nothing/x")
    assert "cannot be saved" in result.stderr and result.exit_code == 0


def test_a_path_is_no_command(talk: Any) -> None:
    talk("/usr/bin is what?")
    assert questions()[0]["messages"][0]["text"] == "/usr/bin is what?"
