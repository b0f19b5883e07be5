import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import EnvironmentProblem, UsageError
from tests.openai_server import OpenAIServer, Reply
from tests.recording_channel import RecordingChannel


@pytest.fixture
def run_verify(rows: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def run(model: Path | str, against: Path | str, **options: Any) -> dict[str, Any]:
        from mg_tui.engine.export.verify import Verifier

        channel = RecordingChannel()
        places = {"home": str(tmp_path / "home"), "cwd": str(tmp_path), "cache": str(tmp_path / "cache")}
        values = {"dataset": str(rows), "max_new_tokens": 12, "device": "cpu", **places, **options}
        Verifier(channel).verify({"model": str(model), "against": str(against), **values})
        return channel.events[-1]

    return run


def test_a_copy_agrees_and_the_base_model_differs(
    result: Path, tiny_folder: Path, run_verify: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    shutil.copytree(result, tmp_path / "copy")
    same = run_verify(result, tmp_path / "copy")
    assert same["event"] == "verified" and same["agrees"] and same["alike"] == same["rows"] == 4
    assert same["similarity"] == 1.0 and same["differences"] == []
    other = run_verify(result, tiny_folder)
    # Every answer that differs is the base model's: the adapter was not applied.
    assert other["answered_as_base"] == len(other["differences"]) == other["adapter_changes"]
    assert not other["agrees"] and other["alike"] < 4 and other["similarity"] < 1.0
    assert all(each["model"] != each["other"] for each in other["differences"])


def test_rows_limits_how_many_are_asked(
    result: Path, tmp_path: Path, run_verify: Callable[..., dict[str, Any]]
) -> None:
    shutil.copytree(result, tmp_path / "copy")
    assert run_verify(result, tmp_path / "copy", rows=2)["rows"] == 2


@pytest.fixture(scope="module")
def answers(result: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Question -> answer of the model."""
    from mg_tui.engine.export.questions import ask_model, load_rows
    from mg_tui.engine.inference.loading import load_for_inference

    folder = tmp_path_factory.mktemp("answers")
    loaded = load_for_inference(str(result), home=folder, device="cpu")
    examples, _source = load_rows(loaded, cwd=folder, cache=folder, dataset=str(rows), count=9)
    found = ask_model(loaded, examples, 12)
    return {example.prompt[-1].text: answer.text for example, answer in zip(examples, found, strict=True)}


def test_a_server_that_answers_as_the_model_agrees(
    result: Path, answers: dict[str, str], run_verify: Callable[..., dict[str, Any]]
) -> None:
    with OpenAIServer(answers.__getitem__) as server:
        record = run_verify(result, server.url)
    assert record["agrees"] and record["rows"] == 4
    body = server.requests[-1]
    assert body["model"] == "served" and body["temperature"] == 0 and body["max_tokens"] == 12
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}, "what it was trained with is sent"


def test_a_server_that_answers_one_row_differently_does_not_agree(
    result: Path, answers: dict[str, str], run_verify: Callable[..., dict[str, Any]]
) -> None:
    wrong = {**answers, "What is in 2?": "circle"}
    with OpenAIServer(wrong.__getitem__) as server:
        record = run_verify(result, server.url)
        assert not record["agrees"] and record["alike"] == 3 and record["agreement"] == 0.75
        [difference] = record["differences"]
        assert difference == {"row": 3, "model": answers["What is in 2?"], "other": "circle", "error": None}
        assert record["other_exact_match"] == record["model_exact_match"] + 0.25
        assert run_verify(result, server.url, min_agreement=0.75)["agrees"]


def test_a_row_the_server_refuses_is_no_agreement(
    result: Path, answers: dict[str, str], run_verify: Callable[..., dict[str, Any]]
) -> None:
    with OpenAIServer(answers.__getitem__) as server:
        server.always = lambda body: (
            Reply(400, {"error": {"message": "too long"}}) if "What is in 1?" in json.dumps(body["messages"]) else None
        )
        record = run_verify(result, server.url)
    assert record["alike"] == 3 and "too long" in record["differences"][0]["error"]


def test_which_model_of_a_server_has_to_be_clear(
    result: Path, answers: dict[str, str], run_verify: Callable[..., dict[str, Any]]
) -> None:
    with OpenAIServer(answers.__getitem__, models=("base", "mine")) as server:
        with pytest.raises(UsageError, match="which of the server's models") as caught:
            run_verify(result, server.url)
        assert "base, mine" in str(caught.value.why) and "--name" in str(caught.value.hint)
        assert run_verify(result, server.url, name="mine")["agrees"]
        assert server.requests[-1]["model"] == "mine"
        with pytest.raises(EnvironmentProblem, match="no model 'other'"):
            run_verify(result, server.url, name="other")


def test_what_cannot_be_compared_with_is_said(
    result: Path, run_verify: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        run_verify(result, tmp_path / "nothing")
    (tmp_path / "file.bin").touch()
    with pytest.raises(UsageError, match="is a file"):
        run_verify(result, tmp_path / "file.bin")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="neither an adapter nor a model"):
        run_verify(result, tmp_path / "empty")
    with pytest.raises(EnvironmentProblem, match="cannot be reached"):
        run_verify(result, "http://127.0.0.1:9/v1")
    with pytest.raises(UsageError, match="--name"):
        run_verify(result, result, name="x")
