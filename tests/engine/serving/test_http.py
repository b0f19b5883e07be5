"""The API as OpenAI's own client sees it, over real connections, behind the gate."""

import base64
import io
import json
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from mg_tui.core.serve_spec import ServeSpec
from mg_tui.gate import Listener, TokenStore
from tests.engine.serving.conftest import QUESTIONS
from tests.engine.serving.hostile import HostileServer


class RunningServer:
    """A server of the test's process: its parts, its address, and a client."""

    def __init__(self, engine: Any, home: Path, listener: Listener, **store: Any):
        from mg_tui.engine.serving.app import ServedState, create_app
        from mg_tui.engine.serving.image_store import ImageStore
        from mg_tui.engine.serving.listening import ListeningThread, limits_for
        from mg_tui.engine.serving.statistics import ServingStatistics

        self.engine, self.images, self.statistics = engine, ImageStore(**store), ServingStatistics(engine)
        self.state = ServedState(engine, self.images, self.statistics, "tiny", 24, 60.0, proofs={})
        limits = limits_for(ServeSpec.parse({"models": ["tiny"]}))
        self._http = ListeningThread(create_app(self.state), home, listener, limits)
        self.url = f"{self._http.start()}/v1"

    def client(self, key: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url, api_key=key, max_retries=0, timeout=60)

    def close(self) -> None:
        self._http.stop()
        self.images.close()


@pytest.fixture(scope="module")
def shared_engine(served: Any) -> Iterator[Any]:
    from mg_tui.engine.serving.builtin import BuiltinEngine

    engine = BuiltinEngine(served, max_waiting=64)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def running(shared_engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = RunningServer(
        shared_engine, tmp_path_factory.mktemp("home"), Listener(port=0), max_bytes=1_000_000, max_seconds=1.5
    )
    yield server
    server.close()


def data_uri(path: str) -> str:
    return "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode()


def question(urls: list[str], text: str) -> list[Any]:
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [*images, {"type": "text", "text": text}]}]


def test_models_are_listed(running: RunningServer):
    models = running.client().models.list().data
    assert [model.id for model in models] == ["tiny", "mine", "other"]
    assert running.client().models.retrieve("mine").id == "mine"


def test_an_answer_with_two_images_and_its_usage(
    running: RunningServer, alone: Any, make_task: Any, image_files: list[str]
):
    expected = alone(make_task("mine", image_files[:2], "compare them"))
    completion = running.client().chat.completions.create(
        model="mine", messages=question([data_uri(path) for path in image_files[:2]], "compare them"), max_tokens=24
    )
    [choice] = completion.choices
    assert choice.message.content == expected.text
    assert choice.finish_reason == ("stop" if expected.finish_reason == "end" else "length")
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (
        expected.prompt_tokens,
        expected.tokens,
    )


def test_a_stream_has_the_same_text_in_pieces(
    running: RunningServer, alone: Any, make_task: Any, image_files: list[str]
):
    expected = alone(make_task("mine", image_files[:1], QUESTIONS[3]))
    chunks = list(
        running.client().chat.completions.create(
            model="mine",
            messages=question([data_uri(image_files[0])], QUESTIONS[3]),
            max_completion_tokens=24,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert "".join(piece or "" for piece in pieces) == expected.text
    assert len([piece for piece in pieces if piece]) > 10, "token by token"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 24


def test_stop_strings_and_the_default_length(
    running: RunningServer, alone: Any, make_task: Any, image_files: list[str]
):
    whole = alone(make_task("mine", image_files[:1], QUESTIONS[3])).text
    ask = running.client().chat.completions.create
    messages = question([data_uri(image_files[0])], QUESTIONS[3])
    assert ask(model="mine", messages=messages).choices[0].message.content == whole
    stopped = ask(model="mine", messages=messages, stop=[whole[9:14]])
    assert stopped.choices[0].message.content == whole[: whole.index(whole[9:14])]
    assert stopped.choices[0].finish_reason == "stop"


def test_fifty_concurrent_requests_are_each_answered_as_alone(
    running: RunningServer, alone: Any, make_task: Any, image_files: list[str]
):
    cases = [
        (model, image, text)
        for model in ("mine", "other")
        for image in image_files
        for text in (*QUESTIONS, "who", "a", "b")
    ]
    cases = (cases + cases)[:50]
    expected = [alone(make_task(model, [image], text, tokens=6)).text for model, image, text in cases]
    client = running.client()

    def ask(case: tuple[str, str, str]) -> str | None:
        model, image, text = case
        completion = client.chat.completions.create(
            model=model, messages=question([data_uri(image)], text), max_tokens=6
        )
        return completion.choices[0].message.content

    before = running.statistics.requests
    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(ask, cases)) == expected
    assert running.statistics.requests == before + 50
    assert running.engine.waiting == running.engine.answering == 0


@pytest.mark.parametrize(
    ("changes", "status", "param", "said"),
    [
        ({"model": "nobody"}, 404, "model", "does not exist; this server has tiny, mine, other"),
        ({"n": 2}, 400, "n", "less than or equal to 1"),
        ({"temperature": -1}, 400, "temperature", "greater than or equal to 0"),
        ({"max_tokens": 0}, 400, "max_tokens", "greater than or equal to 1"),
        ({"max_tokens": 10**7}, 400, None, "the model takes at most"),
        ({"logprobs": True}, 400, "logprobs", "False"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format", "only"),
        ({"extra_body": {"top_k": 3}}, 400, "top_k", "Unsupported parameter: top_k"),
        ({"messages": []}, 400, "messages", "at least 1"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, None, "the last one has to be the user's"),
        ({"messages": question(["x"] * 33, "?")}, 400, None, "at most 32 images"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_name(
    running: RunningServer, changes: dict[str, Any], status: int, param: str | None, said: str
):
    values: dict[str, Any] = {"model": "mine", "messages": question([], "?"), **changes}
    with pytest.raises(openai.APIStatusError) as caught:
        running.client().chat.completions.create(**values)
    body: Any = caught.value.body
    assert caught.value.status_code == status and body["param"] == param
    assert said.lower() in body["message"].lower() and "Traceback" not in body["message"]


def test_a_body_that_is_no_json_is_refused_in_openais_shape(running: RunningServer):
    response = httpx.post(f"{running.url}/chat/completions", content=b"{", headers={"content-type": "application/json"})
    assert response.status_code == 400 and response.json()["error"]["message"] == "The body is not valid JSON."


def test_a_client_that_goes_away_ends_its_answer(
    running: RunningServer, image_files: list[str], monkeypatch: pytest.MonkeyPatch
):
    step = running.engine._step

    def slow_step() -> None:
        time.sleep(0.2)  # no answer ends before its client goes away
        step()

    monkeypatch.setattr(running.engine, "_step", slow_step)
    stream = running.client().chat.completions.create(
        model="mine", messages=question([data_uri(image_files[0])], QUESTIONS[3]), max_tokens=2_000, stream=True
    )
    next(iter(stream))
    assert running.engine.answering or running.engine.waiting
    stream.close()
    _until(lambda: not running.engine.answering)
    with pytest.raises(openai.APITimeoutError):
        running.client().with_options(timeout=0.3).chat.completions.create(
            model="mine", messages=question([data_uri(image_files[0])], QUESTIONS[3]), max_tokens=2_000
        )
    _until(lambda: not running.engine.answering)


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_health_needs_no_token_and_metrics_count(running: RunningServer, image_files: list[str]):
    base = running.url.removesuffix("/v1")
    assert httpx.get(f"{base}/health").json() == {"status": "ok"}
    running.client().chat.completions.create(model="tiny", messages=question([], "hello"), max_tokens=2)
    text = httpx.get(f"{base}/metrics").text
    assert 'model_garden_requests_total{model="tiny",outcome="answered"}' in text
    assert "model_garden_first_token_seconds_bucket" in text and "model_garden_requests_waiting 0.0" in text


def test_a_full_queue_is_429_with_retry_after(running: RunningServer, monkeypatch: pytest.MonkeyPatch):
    from mg_tui.engine.serving.answering import TooManyWaiting

    def refuse(_task: Any) -> None:
        raise TooManyWaiting(64, seconds=2)

    monkeypatch.setattr(running.engine, "start", refuse)
    with pytest.raises(openai.RateLimitError, match="64 requests are waiting") as caught:
        running.client().chat.completions.create(model="mine", messages=question([], "?"), stream=True)
    assert caught.value.response.headers["retry-after"] == "2"


def test_beyond_loopback_every_request_needs_a_token(shared_engine: Any, tmp_path: Path):
    server = RunningServer(shared_engine, tmp_path, Listener(port=0, behind_proxy=True))
    try:
        with pytest.raises(openai.AuthenticationError):
            server.client("mg_wrong").models.list()
        tokens = TokenStore(tmp_path)
        reader, runner = tokens.create("reader", "read"), tokens.create("runner", "run")
        assert len(server.client(reader).models.list().data) == 3
        with pytest.raises(openai.PermissionDeniedError):
            server.client(reader).chat.completions.create(model="tiny", messages=question([], "hi"), max_tokens=1)
        assert server.client(runner).chat.completions.create(model="tiny", messages=question([], "hi"), max_tokens=1)
        assert httpx.get(server.url.replace("/v1", "/metrics")).status_code == 401
        assert httpx.get(f"{server.url}/models", headers={"Host": "evil.example"}).status_code == 421
    finally:
        server.close()


# --- hostile images ------------------------------------------------------------------------------------------------


def refused(running: RunningServer, url: str) -> str:
    """Why an image is refused."""
    with pytest.raises(openai.BadRequestError) as caught:
        running.client().chat.completions.create(model="tiny", messages=question([url], "?"), max_tokens=1)
    body: Any = caught.value.body
    assert body["code"] == "invalid_image"
    return str(body["message"])


@pytest.fixture
def secret_server() -> Iterator[HostileServer]:
    with HostileServer("127.0.0.1", b"a secret") as server:
        yield server


@pytest.fixture
def public_server(monkeypatch: pytest.MonkeyPatch, image_files: list[str]) -> Iterator[HostileServer]:
    """A server at 127.0.0.2, which counts as an address of the public internet."""
    from mg_tui.data import addresses

    original = addresses.is_public
    monkeypatch.setattr(addresses, "is_public", lambda address: str(address) == "127.0.0.2" or original(address))
    with HostileServer("127.0.0.2", Path(image_files[0]).read_bytes()) as server:
        yield server


@pytest.mark.parametrize(
    "make",
    [
        lambda url: url,
        lambda url: url.replace("127.0.0.1", "localhost"),
        lambda url: url.replace("127.0.0.1", "2130706433"),
        lambda url: url.replace("127.0.0.1", "0x7f.1"),
        lambda url: url.replace("127.0.0.1", "[::ffff:127.0.0.1]"),
        lambda url: url.replace("http://", "http://example.com@"),
    ],
)
def test_addresses_of_this_machine_are_not_asked(running: RunningServer, secret_server: HostileServer, make: Any):
    said = refused(running, f"{make(secret_server.url)}/image")
    assert "outside the public internet" in said
    assert secret_server.asked == []


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://10.0.0.1/a.png"]
)
def test_metadata_and_private_addresses_are_not_asked(running: RunningServer, url: str):
    assert "outside the public internet" in refused(running, url)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "../../etc/passwd",
        "ftp://example.com/a.png",
        "gopher://x/",
        "a.png",
        "//x/a",
    ],
)
def test_files_and_other_schemes_are_refused(running: RunningServer, url: str):
    assert "data URI or an http(s) URL" in refused(running, url)


def test_a_redirect_to_this_machine_is_not_followed(
    running: RunningServer, public_server: HostileServer, secret_server: HostileServer
):
    for target in (f"{secret_server.url}/image", "http://169.254.169.254/latest/meta-data/", "file:///etc/passwd"):
        refused(running, f"{public_server.url}/redirect?to={target}")
    assert len(public_server.asked) == 3 and secret_server.asked == []


def test_an_image_of_a_public_address_is_fetched(
    running: RunningServer, public_server: HostileServer, alone: Any, make_task: Any, image_files: list[str]
):
    completion = running.client().chat.completions.create(
        model="mine", messages=question([f"{public_server.url}/image"], QUESTIONS[0]), max_tokens=24
    )
    assert completion.choices[0].message.content == alone(make_task("mine", image_files[:1], QUESTIONS[0])).text


def test_images_that_do_not_end_or_are_huge_are_cut_off(running: RunningServer, public_server: HostileServer):
    assert "larger than" in refused(running, f"{public_server.url}/endless")
    assert "larger than" in refused(running, f"{public_server.url}/huge")
    assert "took longer than 1.5 s" in refused(running, f"{public_server.url}/slow")
    assert "web page" in refused(running, f"{public_server.url}/page")
    assert public_server.sent < 20_000_000
    assert not [path for path in running.images.folder.iterdir() if path.name.startswith(("download-", "new-"))]


def bomb() -> bytes:
    """A PNG of 30,000 x 30,000 black pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 10_000))
        + chunk(b"IEND", b"")
    )


def test_images_that_are_bombs_or_no_images_are_refused(running: RunningServer, image_files: list[str]):
    def uri(data: bytes, kind: str = "png") -> str:
        return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"

    cut = Path(image_files[0]).read_bytes()[:-40]
    assert "claims 900,000,000 pixels" in refused(running, uri(bomb()))
    assert "truncated" in refused(running, uri(cut)) or "damaged" in refused(running, uri(cut))
    assert "SVG" in refused(running, uri(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg+xml"))
    assert "larger than" in refused(running, uri(b"\0" * 1_100_000))
    assert "base64" in refused(running, "data:image/png;base64,%%%%")
    assert "data:image/TYPE;base64," in refused(running, "data:text/html,hello")
    large = io.BytesIO()
    Image.new("1", (8_000, 8_000)).save(large, "PNG")
    assert "at most 50,000,000 pixels" in refused(running, uri(large.getvalue()))


def test_a_server_without_downloads_asks_nobody(shared_engine: Any, tmp_path: Path, public_server: HostileServer):
    server = RunningServer(shared_engine, tmp_path, Listener(port=0), urls=False)
    try:
        assert "downloads no images" in refused(server, f"{public_server.url}/image")
        assert public_server.asked == []
    finally:
        server.close()


# --- what evaluations and the proof see ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, image_files: list[str]) -> Path:
    lines = [
        {"question": f"{text} {number}", "image": path, "response": "circle"}
        for number, path in enumerate(image_files)
        for text in QUESTIONS[:3]
    ]
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_an_evaluation_of_the_server_has_the_scores_of_one_here(
    running: RunningServer, trained: dict[str, Path], dataset: Path, tmp_path: Path
):
    from mg_tui.core.evaluation_spec import EvaluationSpec
    from mg_tui.engine.evaluation.worker import run_worker
    from mg_tui.metrics.results import read_results
    from mg_tui.runs.evaluations import EvaluationFolder

    found = []
    for values in ({"model": str(trained["mine"]), "device": "cpu"}, {"model": "mine", "endpoint": running.url}):
        options = {"dataset": str(dataset), "text_field": "question", "max_new_tokens": 12, "metrics": "anls,cer"}
        spec = EvaluationSpec.parse({**options, **values})
        folder = EvaluationFolder.create(tmp_path / "home", spec, versions={}, cwd=tmp_path)
        assert run_worker(folder.path) == 0
        results = read_results(folder.results_dir)
        found.append(([row.answer for row in results.rows], [each["score"] for each in results.summary["metrics"]]))
    assert found[0] == found[1] and len(found[0][0]) == 9 and len(set(found[0][0])) > 2


def test_the_proof_says_alike_different_and_none(
    running: RunningServer, served: Any, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from dataclasses import replace

    from mg_tui.engine.serving.proof import describe_proof, expect_answers, prove

    places: dict[str, Any] = {"count": 4, "cwd": tmp_path, "cache": tmp_path / "cache", "max_new_tokens": 12}
    expected = expect_answers(served, served.by_name("mine"), dataset=str(dataset), **places)
    record = prove(expected, running.url)
    assert record["outcome"] == "alike" and record["rows"] == record["alike"] == 4 and record["adapter_changes"] > 0
    # Asked of another model, as if the adapter had not been applied.
    swapped = prove(replace(expected, model="tiny"), running.url)
    assert swapped["outcome"] == "different" and swapped["alike"] < 4
    assert swapped["answered_as_base"] == 0 or swapped["answered_as_base"] <= len(swapped["differences"])
    assert "answers differently" in describe_proof(swapped)
    nothing = prove(expect_answers(served, served.by_name("tiny"), dataset=None, **places), running.url)
    assert nothing["outcome"] == "none" and "held-out rows are not known" in nothing["why"]
