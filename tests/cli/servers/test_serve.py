"""`model-garden serve` and `servers`: real server processes; llama-server is played by an executable."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from click.testing import CliRunner, Result

from mg_tui.cli.main import cli
from mg_tui.config import load_settings
from mg_tui.core.errors import SpecError, UsageError
from mg_tui.core.serve_spec import ServeSpec, split_served
from mg_tui.preflight.serving import settle_spec
from mg_tui.runs.servers import ServerFolder, running_servers
from mg_tui.runs.store import list_runs
from tests.engine.export.llama_stand_in import write_gguf

STAND_IN = Path(__file__).parents[2] / "engine" / "serving" / "stand_in.py"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Of the command: `llama-server` is on PATH, nothing of the user's is read."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "llama-server").write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n')
    (programs / "llama-server").chmod(0o755)
    values = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "STAND_IN_FOLDER": str(programs),
        "MODEL_GARDEN_CONFIG": str(tmp_path / "none.toml"),
        "MODEL_GARDEN_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return {**os.environ, **values}


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    write_gguf(tmp_path / "demo.gguf", {"general.architecture": "qwen2vl"}, ["token_embd.weight"])
    write_gguf(tmp_path / "mmproj-demo.gguf", {"general.architecture": "clip"}, ["v.patch_embd.weight"])
    return tmp_path / "demo.gguf"


@pytest.fixture
def command(tmp_path: Path, environment: dict[str, str]) -> Iterator[Callable[..., Result]]:
    def call(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["--home", str(tmp_path / "home"), *arguments])

    yield call
    for server in running_servers(tmp_path / "home"):
        os.kill(server.view.pid or 0, signal.SIGKILL)


def _until(done: Callable[[], Any], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def ask(url: str, model: str, text: str = "hello") -> str | None:
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60)
    completion = client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], max_tokens=4)
    return completion.choices[0].message.content


def test_a_detached_server_is_listed_shown_and_stopped(
    command: Callable[..., Result], gguf: Path, tmp_path: Path
) -> None:
    started = command("serve", f"demo={gguf}", "--port", "0", "--detach", "--json")
    assert started.exit_code == 0, started.output
    record = json.loads(started.stdout)
    assert record["models"] == ["demo"] and record["engine"] == "llama" and record["state"] == "running"
    assert record["proof"]["demo"]["outcome"] == "none" and "which run it is from" in started.stderr
    assert ask(record["url"], "demo") == "an answer"
    _until(lambda: ServerFolder(tmp_path / "home" / "servers" / record["id"]).read_status()["requests"] == 1)
    [listed] = json.loads(command("servers", "--json").stdout)
    assert listed["requests"] == 1 and listed["url"] == record["url"] and listed["latency_seconds"] > 0
    table = command("servers").stdout
    assert record["id"] in table and record["url"] in table and "demo" in table
    page = command("servers", "show", "last").stdout
    assert "1 answered" in page and record["url"] in page
    taken = command("serve", str(gguf), "--port", str(httpx.URL(record["url"]).port), "--detach")
    assert taken.exit_code == 3 and "Cannot listen on 127.0.0.1" in taken.stderr and "process" in taken.stderr
    assert command("servers", "rm", record["id"], "--yes").exception is not None, "it is running"
    assert command("servers", "stop", record["id"]).exit_code == 0
    _until(lambda: not running_servers(tmp_path / "home"))
    assert "stopped after" in command("servers", "show", record["id"]).stdout
    assert not _stand_in_runs(tmp_path)
    assert command("servers", "--json").stdout.strip() == "[]"
    assert len(json.loads(command("servers", "--all", "--json").stdout)) == 2
    assert command("servers", "rm", record["id"], "--yes").exit_code == 0
    assert len(list_runs(tmp_path / "home", ServerFolder)) == 1


def _stand_in_runs(tmp_path: Path) -> bool:
    """Whether the program of this test still runs."""
    pids = json.loads((tmp_path / "programs" / "pids.json").read_text())
    return any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids)


def test_ctrl_c_ends_a_server_and_what_it_started(environment: dict[str, str], gguf: Path, tmp_path: Path) -> None:
    program = "from mg_tui.cli.main import main; main()"
    words = [sys.executable, "-c", program, "--home", str(tmp_path / "home"), "serve", str(gguf), "--port", "0"]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", url)
    assert ask(url, "demo") == "an answer"
    process.send_signal(signal.SIGINT)
    _rest, errors = process.communicate(timeout=90)
    assert process.returncode == 0, errors
    assert "1 request answered" in errors and "Traceback" not in errors
    assert not running_servers(tmp_path / "home") and not _stand_in_runs(tmp_path)
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
    log = list_runs(tmp_path / "home", ServerFolder)[0].folder.log_file.read_text()
    assert "Traceback" not in log


def test_a_server_whose_engine_does_not_start_says_why(
    command: Callable[..., Result], gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_FAILS", "1")
    failed = command("serve", str(gguf), "--port", "0", "--detach")
    assert failed.exit_code == 3
    assert "llama-server did not start" in failed.stderr and "Free memory on device is less" in failed.stderr


def test_a_served_model_is_compared_with_the_trained_one(command: Callable[..., Result], tmp_path: Path) -> None:
    from mg_tui.data.synthetic.vision_dataset import create_vision_dataset

    create_vision_dataset(tmp_path / "rows.jsonl", num_examples=3)
    started = command(
        *("serve", "tiny", "--port", "0", "--engine", "builtin", "--device", "cpu", "--detach", "--json"),
        *("--dataset", str(tmp_path / "rows.jsonl"), "--proof-rows", "3"),
    )
    assert started.exit_code == 0, started.output
    record = json.loads(started.stdout)
    proof = record["proof"]["tiny"]
    assert proof["outcome"] == "alike" and proof["rows"] == proof["alike"] == 3
    assert "tiny answers 3 of 3 rows as the trained model" in started.stderr
    [model] = httpx.get(f"{record['url']}/models").json()["data"]
    assert model["proof"]["outcome"] == "alike"
    assert command("servers", "stop", "--all").exit_code == 0
    _until(lambda: not running_servers(tmp_path / "home"))


def test_what_cannot_be_served_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "home")

    def settle(*models: str, **values: Any) -> ServeSpec:
        return settle_spec(ServeSpec.parse({"models": models, **values}), settings, tmp_path)

    with pytest.raises(SpecError, match="port"):
        settle("tiny", port=70_000)
    with pytest.raises(SpecError, match="engine"):
        settle("tiny", engine="sglang")
    with pytest.raises(SpecError, match="mmproj"):
        settle("tiny", engine="vllm", mmproj="a.gguf")
    with pytest.raises(UsageError, match="without TLS"):
        settle("tiny", host="0.0.0.0")
    with pytest.raises(UsageError, match="No runs yet"):
        settle("mine=last")
    assert not (tmp_path / "home").exists()
    (tmp_path / "a=b").mkdir()
    assert settle("./a=b", "x=./a=b").models == (str(tmp_path / "a=b"), f"x={tmp_path / 'a=b'}")


def test_names_of_served_models() -> None:
    assert split_served("name=models/x") == ("name", "models/x")
    assert split_served("models/a=b") == (None, "models/a=b")
    assert split_served("tiny") == (None, "tiny")


def test_the_first_free_port_is_taken() -> None:
    from mg_tui.preflight.serving import first_free_port

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert first_free_port(first=port) != port
