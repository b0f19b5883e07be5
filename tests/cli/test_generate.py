import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from PIL import Image

from mg_tui.cli.main import main
from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.runs import engine_process


class FakeEngineChild:
    """An EngineProcess with scripted replies."""

    requests: list[dict[str, Any]]
    replies: dict[str, list[dict[str, Any]] | Exception]

    def __init__(self, program: str) -> None:
        FakeEngineChild.requests.append({"program": program})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        FakeEngineChild.requests.append({"op": "closed"})

    def stream(self, op: str, **fields: Any) -> Iterator[dict[str, Any]]:
        FakeEngineChild.requests.append({"op": op, **fields})
        reply = FakeEngineChild.replies[op]
        if isinstance(reply, Exception):
            raise reply
        yield from (dict(event) for event in reply)


READY_EVENT = {
    "event": "ready",
    "model": "mine",
    "kind": "adapter",
    "base_model": "tiny",
    "family": "qwen2_5_vl",
    "device": "cpu",
    "dtype": "float32",
    "quantization": "none",
    "min_pixels": 3136,
    "max_pixels": 1003520,
    "limits_from": "trained",
}
ANSWER_EVENT = {
    "event": "answer",
    "answer": "A cat\x1b[31m.",
    "tokens": 3,
    "seconds": 0.5,
    "tokens_per_second": 6.0,
    "ended": "length",
    "images": [{"path": "a.png", "size": [60, 40], "seen_at": [56, 28]}],
    "seed": None,
}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeEngineChild]:
    FakeEngineChild.requests = []
    texts = [{"event": "text", "text": text} for text in ("A ", "cat\x1b[31m", ".")]
    FakeEngineChild.replies = {
        "load": [{"event": "notice", "text": "assumed"}, READY_EVENT],
        "generate": [*texts, ANSWER_EVENT],
    }
    monkeypatch.setattr(engine_process, "EngineProcess", FakeEngineChild)
    return FakeEngineChild


@pytest.fixture
def image_file(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.new("RGB", (60, 40), "red").save(path)
    return path


def run_cli(*args: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(args))
    return int(caught.value.code or 0)


def test_the_answer_goes_to_stdout_and_messages_to_stderr(
    fake: type[FakeEngineChild], image_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = ["--home", str(tmp_path / "home")]
    assert run_cli(*home, "generate-vision", "mine", "--image", str(image_file), "--prompt", "What?") == 0
    out, err = capsys.readouterr()
    assert out == "A cat\N{REPLACEMENT CHARACTER}[31m.\n"
    assert "assumed" in err and "60x40 resized to 56x28" in err and "truncated at 512 tokens" in err
    load, generate = fake.requests[1:3]
    assert load["model"] == "mine" and load["home"] == str(tmp_path / "home") and load["quantization"] == "auto"
    assert generate["images"] == [str(image_file)] and generate["prompt"] == "What?"
    assert generate["temperature"] == 0 and generate["seed"] is None
    assert fake.requests[-1] == {"op": "closed"}


def test_json_is_one_record(fake: type[FakeEngineChild], image_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = ["--image", str(image_file)]
    assert (
        run_cli("generate-vision", "mine", *image, *image, "--prompt", "What?", "--json", "--max-new-tokens", "3") == 0
    )
    record = json.loads(capsys.readouterr().out)
    assert record["answer"] == ANSWER_EVENT["answer"] and record["tokens"] == 3 and record["base_model"] == "tiny"
    assert (record["min_pixels"], record["max_pixels"], record["limits_from"]) == (3136, 1003520, "trained")
    assert len(fake.requests[2]["images"]) == 2 and "event" not in record


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError("the model does not exist", hint="look"), 2), (EnvironmentProblem("no hub"), 3)],
)
def test_errors_of_the_child_are_one_message_with_its_exit_code(
    fake: type[FakeEngineChild], image_file: Path, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    fake.replies["load"] = error
    assert run_cli("generate-vision", "mine", "--image", str(image_file), "--prompt", "What?") == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and "Traceback" not in err
    assert fake.requests[-1] == {"op": "closed"}


def test_an_invalid_image_fails_before_the_model_is_loaded(
    fake: type[FakeEngineChild], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    for path in (text, tmp_path / "none.jpg", tmp_path):
        assert run_cli("generate-vision", "mine", "--image", str(path), "--prompt", "What?") == 2
        assert "error: image" in capsys.readouterr().err
    assert fake.requests == []


@pytest.mark.parametrize(
    "wrong", [["--temperature", "-1"], ["--top-p", "0"], ["--max-new-tokens", "0"], ["--device", "tpu"]]
)
def test_bad_options_are_usage_errors(fake: type[FakeEngineChild], image_file: Path, wrong: list[str]) -> None:
    assert run_cli("generate-vision", "mine", "--image", str(image_file), "--prompt", "What?", *wrong) == 2
    assert fake.requests == []


def test_asking_the_tiny_model_for_real(image_file: Path, tmp_path: Path) -> None:
    """One whole command, in processes of its own: the face stays without torch, and the answer comes out."""
    code = (
        "import sys\n"
        "from mg_tui.cli.main import main\n"
        "try:\n    main()\n"
        "finally:\n    assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    )
    arguments = ["--home", str(tmp_path / "home"), "generate-vision", "tiny", "--image", str(image_file), "--json"]
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--prompt", "What is the main colour of the picture?"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    record = json.loads(ran.stdout)
    assert record["answer"] and record["ended"] == "end" and record["device"] in ("cpu", "cuda")
    assert record["images"][0]["size"] == [60, 40]
