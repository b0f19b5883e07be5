"""The real llama-server behind the gate of `model-garden serve`, with a tiny model that was exported.

llama.cpp has to be built already: `model-garden export --setup gguf`, or LLAMA_CPP_DIR.
"""

import json
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import openai
import platformdirs
import pytest
from PIL import Image

from mg_tui.config import APP_NAME
from mg_tui.core.errors import GardenError
from mg_tui.data.synthetic.drawings import SHAPES
from mg_tui.runs.llama_cpp import find_llama_cpp, find_llama_server
from tests.engine.serving.real_servers import (
    ROWS,
    Client,
    Garden,
    check_what_clients_need,
    make_rows,
    question,
    runs,
    train,
    wait_until,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ANSWERS = [f"it is a {shape}" for shape in SHAPES]


@pytest.fixture(scope="module")
def garden(tmp_path_factory: pytest.TempPathFactory) -> Garden:
    cache = Path(os.environ.get("GARDEN_TEST_CACHE") or platformdirs.user_cache_path(APP_NAME))
    try:
        find_llama_cpp(cache), find_llama_server(cache)
    except GardenError as error:
        pytest.skip(f"{error.what}: {error.hint}")
    return Garden(tmp_path_factory.mktemp("garden"), {"MODEL_GARDEN_CACHE": str(cache)})


@pytest.fixture(scope="module")
def images(garden: Garden) -> list[Path]:
    rows = make_rows(garden.home / "rows")
    return [rows.parent / f"{number}.png" for number in range(ROWS)]


@pytest.fixture(scope="module")
def mine(garden: Garden, images: list[Path], tiny_folder: Path) -> Path:
    return train(garden, tiny_folder, images[0].parent / "rows.jsonl")


@pytest.fixture(scope="module")
def files(garden: Garden, mine: Path) -> Path:
    """The folder of the export, with the text model in F16 and Q8_0."""
    target = garden.home / "gguf"
    kinds = ("--quantization", "F16", "--quantization", "Q8_0", "--rows", ROWS, "--max-new-tokens", 16)
    garden.run("export", mine, "--format", "gguf", "--output", target, *kinds)
    return target


def test_an_exported_file_is_served_as_clients_need_it(garden: Garden, files: Path, images: list[Path]) -> None:
    with garden.serving(f"mine={files / 'gguf-Q8_0.gguf'}", "--proof-rows", ROWS) as server:
        proof = server["proof"]["mine"]
        assert (proof["outcome"], proof["rows"], proof["alike"]) == ("alike", ROWS, ROWS)
        assert proof["adapter_changes"] == ROWS and proof["model_exact_match"] == 1.0
        client = Client(server["url"], "mine")
        check_what_clients_need(client, images, ANSWERS)
        [listed] = httpx.get(f"{server['url']}/models").json()["data"]
        assert listed["root"] == "gguf-Q8_0.gguf" and listed["proof"]["outcome"] == "alike"
        large = images[0].with_name("large.png")
        Image.open(images[0]).resize((896, 896)).save(large)
        tokens = [client.ask(question(file)).usage.prompt_tokens for file in (images[0], large)]
        assert tokens[0] == tokens[1], "no more tokens than the most of training"
        answers: dict[int, str] = {}
        threads = [
            threading.Thread(target=lambda n=n: answers.update({n: client.text(question(images[n % ROWS]))}))
            for n in range(24)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == {n: ANSWERS[n % ROWS] for n in range(24)}
        metrics = httpx.get(server["url"].removesuffix("/v1") + "/metrics").text
        assert 'model_garden_requests_total{model="mine",outcome="answered"}' in metrics
        assert "model_garden_requests_answering 0.0" in metrics and "model_garden_requests_waiting 0.0" in metrics
    page = garden.run("servers", "show", server["id"]).stdout
    assert "stopped after" in page and f"{ROWS} of {ROWS} rows" in page


def test_only_tokens_get_in_where_they_are_needed(garden: Garden, files: Path, images: list[Path]) -> None:
    secret = garden.run("tokens", "create", "client", "--scope", "run").stdout.strip().splitlines()[-1]
    with garden.serving(f"mine={files / 'gguf-F16.gguf'}", "--behind-proxy", "--proof-rows", 2) as server:
        assert server["proof"]["mine"]["outcome"] == "alike", "asked on an address of its own"
        for key in ("none", "mg_wrong"):
            with pytest.raises(openai.AuthenticationError):
                Client(server["url"], "mine", key).text(question(images[0]))
        assert Client(server["url"], "mine", secret).text(question(images[0])) == ANSWERS[0]


def test_the_tower_of_another_model_is_reported(garden: Garden, files: Path, tmp_path: Path) -> None:
    """The same shapes, other weights: nothing but the answers can tell."""
    wrong = tmp_path / "mmproj-wrong.gguf"
    data = bytearray((files / "mmproj-gguf-F16.gguf").read_bytes())
    middle = len(data) // 2
    data[middle:] = bytes(len(data) - middle)
    wrong.write_bytes(data)
    with garden.serving(f"mine={files / 'gguf-F16.gguf'}", "--mmproj", wrong, "--proof-rows", ROWS) as server:
        proof = server["proof"]["mine"]
        assert proof["outcome"] == "different" and proof["alike"] < ROWS
        events = (garden.folder(server["id"]) / "events.jsonl").read_text().splitlines()
        [warning] = [event for event in map(json.loads, events) if event["kind"] == "warning"]
        assert "it answers differently" in warning["what"]


@pytest.mark.parametrize("when", ["start", "load"])
def test_what_cannot_be_loaded_is_one_error(garden: Garden, files: Path, tmp_path: Path, when: str) -> None:
    broken = tmp_path / "broken.gguf"
    data = (files / "gguf-F16.gguf").read_bytes()
    # A name that llama.cpp does not find, in a file that is whole; and a file that is cut off.
    broken.write_bytes(data.replace(b"blk.1.attn_q.weight", b"blk.1.attn_x.weight") if when == "load" else data[:-4000])
    shutil.copy(files / "mmproj-gguf-F16.gguf", tmp_path)
    code = 3 if when == "load" else 2
    failed = garden.run("serve", broken, "--port", 0, "--detach", "--proof-rows", 0, code=code).stderr
    assert "Traceback" not in failed
    assert ("llama-server did not start" in failed and "attn_q.weight" in failed) or "damaged" in failed


def test_when_it_is_killed_who_waits_is_told_and_the_server_ends(
    garden: Garden, files: Path, images: list[Path]
) -> None:
    with garden.serving(f"mine={files / 'gguf-F16.gguf'}", "--proof-rows", 0) as server:
        [engine] = [pid for pid in server["engine_pids"] if Path(f"/proc/{pid}/comm").read_text() == "llama-server\n"]
        os.kill(engine, signal.SIGSTOP)
        found: list[Any] = []

        def ask() -> None:
            try:
                found.append(Client(server["url"], "mine").text(question(images[0])))
            except openai.APIStatusError as error:
                found.append(error)

        waiting = threading.Thread(target=ask)
        waiting.start()
        metrics = server["url"].removesuffix("/v1") + "/metrics"
        wait_until(lambda: "model_garden_requests_answering 1.0" in httpx.get(metrics).text)
        os.kill(engine, signal.SIGKILL)
        waiting.join(60)
        assert isinstance(found[0], openai.APIStatusError) and found[0].status_code >= 500, found
        assert str(garden.home) not in str(found[0])
        wait_until(lambda: not runs(server["worker"]))
    page = garden.run("servers", "show", server["id"]).stdout
    assert "The engine has ended" in page and "killed by signal 9" in page


def test_it_does_not_outlive_a_killed_server(garden: Garden, files: Path) -> None:
    with garden.serving(f"mine={files / 'gguf-F16.gguf'}", "--proof-rows", 0) as server:
        os.kill(server["worker"], signal.SIGKILL)
        wait_until(lambda: not any(map(runs, server["engine_pids"])))


def test_an_adapter_in_a_file_of_its_own_is_applied(
    garden: Garden, mine: Path, files: Path, images: list[Path]
) -> None:
    target = garden.home / "beside"
    options = ("--quantization", "F16", "--adapter", "--rows", ROWS, "--max-new-tokens", 16)
    garden.run("export", mine, "--format", "gguf", "--output", target, *options)
    with garden.serving(f"mine={target / 'beside-F16.gguf'}", "--proof-rows", ROWS) as server:
        assert server["proof"]["mine"]["outcome"] == "alike" and server["proof"]["mine"]["answered_as_base"] == 0
