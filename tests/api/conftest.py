"""A home with runs that were never trained, the API over it, and a client behind the gate."""

import contextlib
import itertools
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from starlette.testclient import TestClient

from mg_tui.api.app import create_gate
from mg_tui.api.garden import Garden
from mg_tui.api.paths import AllowedPaths
from mg_tui.config import Settings
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.synthetic.vision_dataset import create_vision_dataset
from mg_tui.gate import GateLimits, Listener, TokenStore
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock

UNLIMITED = GateLimits(
    requests_per_second=1e6,
    burst=10**6,
    failures_per_second=1e6,
    failure_burst=10**6,
    requests_at_once=10**4,
    requests_at_once_per_caller=10**4,
)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The server's working directory, with a dataset."""
    folder = tmp_path / "work"
    (folder / "data").mkdir(parents=True)
    create_vision_dataset(folder / "data" / "rows.jsonl", 4, force=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", cache=tmp_path / "cache")


@pytest.fixture
def garden(work: Path, settings: Settings) -> Garden:
    return Garden(settings, AllowedPaths([work], work, settings.home))


@pytest.fixture
def store(settings: Settings) -> TokenStore:
    return TokenStore(settings.home)


@pytest.fixture
def client(garden: Garden) -> Iterator[TestClient]:
    """A client that counts as a process of the same user."""
    gate = create_gate(garden, Listener(), limits=UNLIMITED, same_user=lambda _client, _server: True)
    with TestClient(gate, base_url="http://localhost:8000", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def remote(garden: Garden) -> Iterator[TestClient]:
    """A client that needs a token."""
    gate = create_gate(garden, Listener(behind_proxy=True), limits=UNLIMITED)
    with TestClient(gate, base_url="http://localhost:8000", raise_server_exceptions=False) as client:
        yield client


def sign_in(client: TestClient, secret: str) -> str:
    """Sign in as a browser does; returns the header Cookie."""
    form = {"Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "document"}
    answer = client.post("/login", data={"token": secret}, headers=form, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/"), answer.text
    cookie: str = answer.headers["set-cookie"].partition(";")[0]
    return cookie


MakeRun = Callable[..., RunFolder]


@pytest.fixture
def make_run(settings: Settings, work: Path) -> MakeRun:
    """Make a run that somebody else trained: `steps` of it, and how it ended."""
    numbers = itertools.count()

    def make(name: str | None = None, *, steps: int = 3, end: str | None = "finished", **values: Any) -> RunFolder:
        run_id = f"20261130-1200{next(numbers):02d}-aaaa"
        spec = TrainingSpec.parse(
            {"base_model": "tiny", "dataset": str(work / "data/rows.jsonl"), "name": name, **values}
        )
        folder = RunFolder.create(settings.home, spec, run_id=run_id, cwd=work)
        with RunLock(folder.lock_file), JournalWriter(folder.journal_file) as journal:
            journal.write("started", pid=1, host="box", attempt=1, resumed_from=None, versions={})
            journal.write("plan", steps=steps, examples=4)
            for step in range(1, steps + 1):
                journal.write("step", step=step, loss=1 / step, learning_rate=1e-4, seconds=0.5, tokens=10, images=1)
            if end:
                journal.write(end, **({"steps": steps} if end == "finished" else {"step": steps, "by": "me"}))
        return folder

    return make


@dataclass
class Server:
    """A server process. `client` needs no token."""

    process: "subprocess.Popen[str]"
    url: str
    home: Path
    work: Path

    @property
    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60)

    def end(self) -> str:
        """End it and return what it said on standard error since it was ready."""
        self.process.terminate()
        try:
            _out, said = self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        assert self.process.returncode == 0, said
        return said

    def kill(self) -> None:
        self.process.kill()
        assert self.process.stderr is not None
        self.process.stderr.close()  # a process that the server started may hold the other end
        self.process.wait()


def start_server(
    home: Path,
    work: Path,
    *flags: str,
    port: int = 0,
    environ: Mapping[str, str] | None = None,
    descriptors: int | None = None,
) -> Server:
    """Start `model-garden api` and wait until it answers. `descriptors`: its limit on open files."""
    limited = () if descriptors is None else ("sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh")
    process = subprocess.Popen(
        [*limited, "model-garden", "--home", str(home), "api", "--port", str(port), *flags],
        cwd=work,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **(environ or {})},
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("API"):
            return Server(process, line.split()[1].removesuffix("/api/v1"), home, work)
    process.stderr.close()
    process.wait()
    raise AssertionError("".join(lines))


def stop_everything(home: Path) -> None:
    """End every process of a home's runs: their command lines name the folder."""
    for process in psutil.process_iter(["pid", "cmdline"]):
        words = process.info["cmdline"] or []
        if any(word.startswith(f"{home}/") for word in words) and process.pid != os.getpid():
            with contextlib.suppress(psutil.Error):
                process.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server process with an empty home and a dataset."""
    work = tmp_path_factory.mktemp("work")
    create_vision_dataset(work / "data" / "vision_dataset.jsonl", 6, force=True)
    server = start_server(work.parent / f"{work.name}-home", work)
    try:
        yield server
        server.end()
    finally:
        stop_everything(server.home)


def wait_for(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    """Wait until something is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.1)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
