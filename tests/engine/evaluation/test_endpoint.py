"""Evaluations of a server: what is sent, what is scored, what fails and how, and that nothing is asked twice."""

import io
import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.engine.evaluation.protocol import chat_url, models_url, retry_after
from mg_tui.metrics.results import read_answers, read_results
from mg_tui.runs.evaluations import EvaluationFolder, read_json_file
from mg_tui.runs.lock import is_held
from tests.engine.evaluation.conftest import MakeEvaluation, events, final_bytes, last, run, write_rows
from tests.openai_server import OpenAIServer, Reply, images_of, question_of


def number_of(question: str) -> str:
    """Right for two rows of three."""
    number = int(question.split()[-1])
    return f"Number {number}" if number % 3 else "none"


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(number_of) as running:
        yield running


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mg_tui.engine.evaluation.endpoint._FIRST_WAIT", 0.01)


def test_rows_are_asked_and_scored(make: MakeEvaluation, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_GARDEN_API_KEY", "secret")
    server.pause = 0.1  # so that requests overlap
    folder = make(endpoint=server.url, metrics="exact_match_folded,anls", group_by="kind", system_prompt="Be brief.")
    assert run(folder) == 0
    results = read_results(folder.results_dir)
    assert [row.row for row in results.rows] == list(range(1, 41))
    assert results.summary["metrics"][0]["score"] == 26 / 40
    assert {group["value"] for group in results.summary["groups"]["kind"]} == {"even", "odd"}
    assert results.summary["independent_rows"] == 20
    body = next(body for body in server.requests if question_of(body).endswith(" 7"))
    assert body["model"] == "served" and body["temperature"] == 0 and body["max_tokens"] == 128
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    ((kind, data),) = images_of(body)
    assert kind == "image/png" and Image.open(io.BytesIO(data)).size == (56, 56)
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert "secret" not in "".join(path.read_text() for path in folder.path.rglob("*.json*"))
    assert 1 < server.most_at_once <= 8
    assert last(folder).kind == "finished" and last(folder).data["steps"] == 40


def test_an_image_is_sent_as_training_sees_it(make: MakeEvaluation, server: OpenAIServer, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 40), "red").save(tmp_path / "turned.jpg", exif=exif)
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    rows = [{"text": f"q {n}", "image": image, "response": "x"} for n, image in enumerate(["turned.jpg", "clear.png"])]
    assert run(make(endpoint=server.url, dataset=str(write_rows(tmp_path / "two.jsonl", rows)))) == 0
    by_question = {question_of(body): images_of(body)[0][1] for body in server.requests}
    assert Image.open(io.BytesIO(by_question["q 0"])).size == (40, 80)
    assert Image.open(io.BytesIO(by_question["q 1"])).convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_what_passes_is_tried_again(make: MakeEvaluation, server: OpenAIServer) -> None:
    server.replies.extend(
        [
            Reply(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.05"}),
            Reply(503, b"restarting"),
            Reply(200, b"<html>a proxy</html>"),
            Reply(500, {"detail": "oops"}),
        ]
    )
    folder = make(endpoint=server.url, concurrency=1, limit=3)
    assert run(folder) == 0
    assert len(server.requests) == 3 + 4
    assert [row.error for row in read_results(folder.results_dir).rows] == [None] * 3


def test_a_refused_row_counts_as_an_empty_answer(make: MakeEvaluation, server: OpenAIServer) -> None:
    server.always = lambda body: (
        Reply(400, {"error": {"message": "too long"}}) if question_of(body).endswith(" 5") else None
    )
    folder = make(endpoint=server.url, limit=10)
    assert run(folder) == 0
    results = read_results(folder.results_dir)
    assert [row.row for row in results.rows if row.error] == [6]
    assert "too long" in str(results.rows[5].error) and results.summary["rows_with_errors"] == 1


@pytest.mark.parametrize(
    ("reply", "what", "why"),
    [
        (Reply(400, {"error": {"message": "no images here"}}), "refused every row", "no images here"),
        (Reply(401, {"error": {"message": "bad key"}}), "refused with status 401", "bad key"),
        (Reply(404, {"error": {"message": "unknown model"}}), "no model", "unknown model"),
        (Reply(200, b"<html>hello</html>"), "not one of OpenAI's chat completions", "text/html"),
        (Reply(200, {"choices": []}), "not one of OpenAI's chat completions", "no choices"),
        (Reply(429, b"busy"), "did not answer after 3 attempts", "429"),
        (Reply(200, b"{}", after=0.5), "did not answer after 3 attempts", "0.1 seconds"),
    ],
    ids=["refused", "key", "model", "html", "empty", "busy", "slow"],
)
def test_what_does_not_pass_is_an_error_and_is_resumed(
    make: MakeEvaluation, server: OpenAIServer, reply: Reply, what: str, why: str
) -> None:
    folder = make(endpoint=server.url, limit=8, timeout=0.1 if reply.after else 5.0)
    server.always = lambda _body: reply
    assert run(folder) == 3
    event = last(folder)
    assert event.kind == "failed" and event.data["exit_code"] == 3
    assert what in event.data["what"] and why in event.data["why"]
    server.always = lambda _body: None
    assert run(folder) == 0
    assert len(read_results(folder.results_dir).rows) == 8
    assert last(folder).kind == "finished"


def test_a_server_that_is_down_or_has_other_models(make: MakeEvaluation, server: OpenAIServer) -> None:
    assert run(folder := make(endpoint="http://127.0.0.1:9/v1")) == 3
    assert "did not answer" in last(folder).data["what"]
    server.models = ("other", "another")
    assert run(folder := make(endpoint=server.url)) == 3
    assert "no model 'served'" in last(folder).data["what"] and "other, another" in last(folder).data["hint"]
    server.models = ()  # a server that has no list of models is asked all the same
    assert run(make(endpoint=server.url, limit=2)) == 0
    server.models_status = 500  # and one whose list fails, as that of `transformers serve` without a cache
    assert run(make(endpoint=server.url, limit=2, retries=0)) == 0


def test_two_models_of_a_server_are_compared(make: MakeEvaluation, tmp_path: Path) -> None:
    def answer(question: str) -> str:
        return f"number {question.split()[-1]}"

    with OpenAIServer(answer, models=("new", "old")) as server:
        server.always = lambda body: (
            Reply(200, {"choices": [{"message": {"content": number_of(question_of(body))}}]})
            if body["model"] == "old"
            else None
        )
        report = tmp_path / "out" / "report.html"
        folder = make(endpoint=server.url, model="new", compare="old", report=str(report), metrics="exact_match_folded")
        assert run(folder) == 0
    comparison = read_json_file(folder.comparison_file)
    assert comparison is not None and (comparison["before"], comparison["after"]) == ("old", "new")
    (change,) = comparison["metrics"]
    assert (change["before"], change["after"]) == (26 / 40, 1.0)
    assert len(change["fixed"]) == 14 and change["broken"] == [] and change["verdict"] == "too few rows"
    assert "too few" in change["sentence"]
    assert "<html" in report.read_text() and "fixed" in report.read_text()
    assert last(folder).data["steps"] == 80


def test_speed_of_a_server(make: MakeEvaluation, server: OpenAIServer) -> None:
    folder = make(endpoint=server.url, limit=4, speed=True)
    assert run(folder) == 0
    speed = read_json_file(folder.speed_file)
    assert speed is not None
    assert [one["batch"] for one in speed["speed"]] == [1, 4, 16]
    for one in speed["speed"]:
        assert 0 < one["first_token_median"] <= one["whole_median"] <= one["whole_p95"]
        assert one["tokens_per_second"] > 0 and one["peak_memory"] is None


def test_stopped_and_resumed_nothing_is_asked_twice(
    make: MakeEvaluation, start: Callable[[EvaluationFolder], Any], server: OpenAIServer
) -> None:
    from mg_tui.runs import operations

    straight = make(endpoint=server.url)
    assert run(straight) == 0
    server.requests.clear()
    server.pause = 0.15
    folder = make(endpoint=server.url, concurrency=2)
    worker = start(folder)
    _wait(lambda: answers(folder) >= 6)
    assert operations.request_stop(folder, "me", patience=20).acknowledged
    assert worker.wait(60) == 0
    assert last(folder).kind == "stopped" and last(folder).data["step"] == answers(folder) < 40
    asked = answers(folder)
    assert start(folder).wait(120) == 0
    assert final_bytes(folder.results_dir) == final_bytes(straight.results_dir)
    assert len(server.requests) - 40 <= 2  # those that were under way when it was stopped
    assert asked < len(server.requests)


def killed_and_resumed(
    make: MakeEvaluation, start: Callable[[EvaluationFolder], Any], server: OpenAIServer, moments: int
) -> None:
    """Kill an evaluation at random moments and resume it; it ends with the bytes of one that was left alone."""
    straight = make(endpoint=server.url, metrics="exact_match_folded,anls,chrf")
    assert run(straight) == 0
    server.pause = 0.05
    folder = make(endpoint=server.url, metrics="exact_match_folded,anls,chrf", concurrency=2)
    chance = random.Random(moments)
    counts = [0]
    for _ in range(moments):
        worker = start(folder)
        if chance.random() < 0.7:  # else: before its first answer, while it loads
            _wait(lambda: answers(folder) > counts[-1])
        time.sleep(chance.uniform(0.0, 0.1))
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        counts.append(answers(folder))
        assert not is_held(folder.lock_file)
    assert counts == sorted(counts)
    first = (folder.results_dir / "answers.jsonl").read_bytes()
    server.pause = 0.0
    assert start(folder).wait(120) == 0
    assert final_bytes(folder.results_dir) == final_bytes(straight.results_dir)
    # What was answered is still there, times and all.
    assert (folder.results_dir / "answers.jsonl").read_bytes().startswith(first[: first.rfind(b"\n") + 1])
    attempts = [event.data["attempt"] for event in events(folder) if event.kind == "started"]
    assert attempts == sorted(attempts)


def test_killed_at_two_moments_it_ends_with_the_same_bytes(
    make: MakeEvaluation, start: Callable[[EvaluationFolder], Any], server: OpenAIServer
) -> None:
    killed_and_resumed(make, start, server, 2)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_ten_moments_it_ends_with_the_same_bytes(
    make: MakeEvaluation, start: Callable[[EvaluationFolder], Any], server: OpenAIServer
) -> None:
    killed_and_resumed(make, start, server, 10)


def test_a_changed_dataset_is_not_gone_on_with(make: MakeEvaluation, server: OpenAIServer, dataset: Path) -> None:
    server.always = lambda _body: Reply(404, b"later")
    folder = make(endpoint=server.url)
    assert run(folder) == 3
    rows = [json.loads(line) for line in dataset.read_text().splitlines()]
    write_rows(dataset, [{**row, "response": "something else"} for row in rows])
    server.always = lambda _body: None
    assert run(folder) == 2
    assert "evaluation of something else" in last(folder).data["what"] and "fingerprint" in last(folder).data["why"]


@pytest.mark.parametrize(
    ("endpoint", "chat"),
    [
        ("http://a:8000", "http://a:8000/v1/chat/completions"),
        ("http://a:8000/", "http://a:8000/v1/chat/completions"),
        ("http://a/v1/", "http://a/v1/chat/completions"),
        ("http://a/v1/chat/completions", "http://a/v1/chat/completions"),
        ("https://a/openai/v2", "https://a/openai/v2/chat/completions"),
    ],
)
def test_addresses(endpoint: str, chat: str) -> None:
    assert chat_url(endpoint) == chat
    assert models_url(endpoint) == chat.removesuffix("/chat/completions") + "/models"


def test_retry_after_is_seconds_or_a_date() -> None:
    import httpx

    def asked(value: str) -> float | None:
        return retry_after(httpx.Response(429, headers={"Retry-After": value}), now=1_000_000_000.0)

    assert asked("7") == 7 and asked("-3") == 0 and asked("soon") is None
    assert asked("Sun, 09 Sep 2001 01:46:50 GMT") == 10
    assert retry_after(httpx.Response(429)) is None


def answers(folder: EvaluationFolder) -> int:
    """Rows that are answered so far."""
    if not (folder.results_dir / "answers.jsonl").is_file():
        return 0
    return len(read_answers(folder.results_dir))


def _wait(condition: Callable[[], bool], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


def test_waits_double_and_a_resumed_evaluation_asks_only_for_what_is_missing(
    make: MakeEvaluation, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    from mg_tui.engine.evaluation import endpoint

    waits: list[float] = []
    sleep = asyncio.sleep

    async def recorded(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    def limited(body: Any) -> Reply | None:
        return Reply(429, b"busy") if question_of(body).endswith(" 3") else None

    monkeypatch.setattr("random.uniform", lambda _low, _high: 1.0)
    monkeypatch.setattr(endpoint, "_FIRST_WAIT", 0.5)
    server.always = limited
    folder = make(endpoint=server.url, limit=6, concurrency=1, retries=4)
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "sleep", recorded)
        assert run(folder) == 3
    assert "did not answer after 5 attempts" in last(folder).data["what"]
    doubled = [seconds for seconds in waits if seconds >= 0.5]
    assert doubled == [0.5, 1.0, 2.0, 4.0]
    server.always = lambda _body: None
    before = len(server.requests)
    assert run(folder) == 0
    assert [question_of(body)[-1] for body in server.requests[before:]] == ["3", "4", "5"]
