"""Servers as a person starts them, for tests with the real llama-server and the real vLLM."""

import base64
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import psutil

from mg_tui.runs.servers import running_servers

ROWS = 6


@dataclass
class Garden:
    """Runs commands of the program in a home of its own, with further variables of the environment."""

    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, *words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        """A command, which has to end with `code`."""
        program = "from mg_tui.cli.main import main; main()"
        command = [sys.executable, "-c", program, "--home", str(self.home), *map(str, words)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **self.environment}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=self.home)
        assert done.returncode == code, done.stderr[-4000:]
        return done

    @contextmanager
    def serving(self, *words: object) -> Iterator[dict[str, Any]]:
        """A server in the background, with the process ids of its engine; nothing of it is left afterwards."""
        record = json.loads(self.run("serve", *words, "--port", 0, "--detach", "--json").stdout)
        [server] = [each for each in running_servers(self.home) if each.id == record["id"]]
        worker = psutil.Process(server.view.pid)
        record["worker"], record["engine_pids"] = worker.pid, [each.pid for each in worker.children(recursive=True)]
        assert record["state"] == "running" and record["engine_pids"]
        try:
            yield record
        finally:
            if runs(worker.pid):
                self.run("servers", "stop", record["id"])
            wait_until(lambda: not any(map(runs, [record["worker"], *record["engine_pids"]])))

    def folder(self, server: str) -> Path:
        """The server's folder."""
        return self.home / "servers" / server


def runs(pid: int) -> bool:
    """Whether a process runs, and is not only waiting to be reaped."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_until(done: Callable[[], Any], seconds: float = 60) -> None:
    """Wait for something that has to happen."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def make_rows(folder: Path) -> Path:
    """Questions about drawn images of 112 pixels a side, each with a shape of its own, which is the answer."""
    from mg_tui.data.synthetic.drawings import SHAPES, draw_image

    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(ROWS):
        image, _facts = draw_image(
            random.Random(number), size=(112, 112), shapes=[(SHAPES[number], "red")], background="white"
        )
        image.save(folder / f"{number}.png")
        answer = f"it is a {SHAPES[number]}"
        lines.append(json.dumps({"question": "Which shape?", "image": f"{number}.png", "response": answer}))
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "rows.jsonl"


def train(garden: Garden, tiny: Path, rows: Path) -> Path:
    """A result that has learned the rows, which it held out too; its base model has the windows of llama.cpp."""
    base = garden.home / "tiny-112"
    shutil.copytree(tiny, base)
    config = json.loads((base / "config.json").read_text())
    config["vision_config"]["window_size"] = 112
    (base / "config.json").write_text(json.dumps(config))
    values: dict[str, Any] = {"base-model": base, "dataset": rows, "eval-dataset": rows}
    values |= {"output-dir": garden.home / "mine", "max-pixels": 12544, "epochs": 100, "batch-size": ROWS}
    values |= {"learning-rate": 3e-3, "lora-r": 16, "save-steps": 10_000, "eval-steps": 10_000}
    values |= {"text-field": "question", "gradient-accumulation-steps": 1}
    garden.run("train-vision", *(word for name, value in values.items() for word in (f"--{name}", value)))
    return garden.home / "mine"


def image_part(file: Path) -> dict[str, Any]:
    """An image of a request."""
    uri = "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
    return {"type": "image_url", "image_url": {"url": uri}}


def question(*files: Path, text: str = "Which shape?") -> list[Any]:
    """The messages of a request."""
    return [{"role": "user", "content": [*map(image_part, files), {"type": "text", "text": text}]}]


@dataclass
class Client:
    """Asks a server with OpenAI's own client."""

    url: str
    model: str
    key: str = "none"

    def ask(self, messages: list[Any], **values: Any) -> Any:
        """The whole answer; with `stream` its chunks."""
        with openai.OpenAI(base_url=self.url, api_key=self.key, max_retries=0, timeout=300) as client:
            answer = client.chat.completions.create(model=self.model, messages=messages, **values)
            return list(answer) if values.get("stream") else answer

    def text(self, messages: list[Any], **values: Any) -> str:
        """Its text."""
        return str(self.ask(messages, **values).choices[0].message.content)


def check_what_clients_need(client: Client, images: list[Path], answers: list[str]) -> None:
    """Streaming, several images, stop, length, seed, usage and refusals, of a model that answers the images so."""
    first = client.ask(question(images[0]))
    assert first.choices[0].message.content == answers[0] and first.choices[0].finish_reason == "stop"
    assert first.usage.prompt_tokens > 16 and first.usage.completion_tokens >= 4
    chunks = client.ask(question(images[1]), stream=True, stream_options={"include_usage": True})
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert "".join(pieces) == answers[1] and len(pieces) > 1
    assert chunks[-1].usage is not None and chunks[-1].usage.prompt_tokens > 16
    two = client.ask(question(*images[:2]))
    # An image of 112 pixels a side is 16 tokens between two marks.
    assert two.usage.prompt_tokens - first.usage.prompt_tokens == 18 and two.choices[0].message.content
    cut = client.ask(question(images[0]), max_tokens=2)
    assert cut.choices[0].finish_reason == "length" and cut.usage.completion_tokens == 2
    assert client.text(question(images[0]), stop=[" a"]) == "it is"
    assert client.text(question(images[0]), stop="s a") == "it i"
    drawn = [client.text(question(images[0], text="?"), temperature=1.8, seed=n, max_tokens=12) for n in (*range(6), 0)]
    assert drawn[0] == drawn[-1] and len(set(drawn)) > 1, "a seed decides what is drawn"
    for url in ("http://127.0.0.1:9/x.png", "http://169.254.169.254/latest/meta-data", "file:///etc/passwd"):
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "?"}]
        try:
            client.ask([{"role": "user", "content": content}])
        except openai.BadRequestError as error:
            assert "image" in str(error).lower()
        else:
            raise AssertionError(url)
    try:
        client.ask([{"role": "user", "content": "hello " * 60_000}], max_tokens=4)
    except openai.BadRequestError as error:
        assert error.code == "context_length_exceeded", error
    else:
        raise AssertionError("longer than the model's context")
