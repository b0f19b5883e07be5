"""Runs whose worker is a small script, and a server on loopback that takes messages and can be away for a while."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.folder import RunFolder
from tests.runs.conftest import PRELUDE


class Inbox:
    """A server that takes messages, as ntfy does and webhooks do. `stop` and `start` keep its port.

    `messages`: the JSON bodies; `headers`: theirs; `status`: what it answers.
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.port = 0
        self._server: ThreadingHTTPServer | None = None
        self.start()

    def start(self) -> None:
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if inbox.status == 200:
                    inbox.bodies.append(body)
                    inbox.headers.append(dict(self.headers))
                    inbox.messages.append(json.loads(body))
                self.send_response(inbox.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def ntfy(self) -> str:
        """The address of a topic, whose name is a secret."""
        return f"ntfy://127.0.0.1:{self.port}/topic-of-mine"

    @property
    def webhook(self) -> str:
        """The address of a webhook, with a token and a key."""
        return f"http://127.0.0.1:{self.port}/hook/token-of-mine#secret=key-of-mine"

    def events(self) -> list[str]:
        """The events of the messages that arrived, in order, of either kind; without the test."""
        found = [str(message.get("event") or message["title"].rpartition(" ")[2]) for message in self.messages]
        return [event for event in found if event != "test"]


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    made = Inbox()
    yield made
    made.stop()


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    spec = TrainingSpec(base_model="tiny", dataset="/data/rows.jsonl", name="mine")
    return RunFolder.create(tmp_path / "home", spec, versions={"python": "3"})


CHECKPOINT = """
from mg_tui.runs import checkpoint_format as cf
import json
def checkpoint(number, **more):
    path = cf.folder_of(folder.checkpoints_dir, number)
    path.mkdir()
    (path / "trained.safetensors").write_bytes(os.urandom(200_000))
    files = {"trained.safetensors": (200_000, cf.checksum(path / "trained.safetensors"))}
    (path / cf.MANIFEST_FILE).write_text(json.dumps(cf.make_manifest(number, {}, files)))
    journal.write("checkpoint", step=number, path=f"checkpoints/{path.name}", bytes=200_000, seconds=0.1, **more)
def result():
    folder.model_dir.mkdir()
    (folder.model_dir / "adapter_model.safetensors").write_bytes(os.urandom(100_000))
    (folder.model_dir / "model_garden.json").write_text("{}")
    journal.write("finished", steps=4, seconds=1.0, result=str(folder.model_dir), result_step=4)
"""

StartWorker = Callable[[RunFolder, str], "subprocess.Popen[bytes]"]


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[StartWorker]:
    """Start a process that takes a run's lock and journal and then does what a script says."""
    started: list[subprocess.Popen[bytes]] = []

    def start(folder: RunFolder, body: str) -> "subprocess.Popen[bytes]":
        script = tmp_path / f"worker{len(started)}.py"
        script.write_text(PRELUDE + CHECKPOINT + body)
        process = subprocess.Popen([sys.executable, str(script), str(folder.path)], start_new_session=True)
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


Until = Callable[..., None]


@pytest.fixture
def until() -> Until:
    """Wait until something is so."""

    def wait(condition: Callable[[], object], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it never came about"
            time.sleep(0.02)

    return wait
