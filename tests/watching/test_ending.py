"""The end of the machine: only when it is safe, after a grace, cancellable, once; and how each provider is asked."""

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import UsageError
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
from mg_tui.runs.watch_request import CANCEL_FILE, WatchRequest
from mg_tui.watching import ending, when_done
from mg_tui.watching.run_watcher import RunWatcher
from mg_tui.watching.when_done import EndingFailed, RentedMachine, call_provider, find_machine, run_command
from tests.watching.conftest import Inbox, Until
from tests.watching.test_syncing import add_result

RUNPOD = {"RUNPOD_POD_ID": "pod1", "RUNPOD_API_KEY": "rpa_secret"}
VAST = {"CONTAINER_ID": "42", "CONTAINER_API_KEY": "vast_secret"}


class Provider(HTTPServer):
    """Takes requests of both providers."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str, Any]] = []
        self.status = 200
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def _take(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                authorization = self.headers["Authorization"]
                provider.requests.append((self.command, self.path, authorization, json.loads(body) if body else None))
                self.send_response(provider.status)
                self.end_headers()
                self.wfile.write(f"no such pod for {authorization}".encode())

            def do_POST(self) -> None:
                self._take()

            def do_PUT(self) -> None:
                self._take()

            def do_DELETE(self) -> None:
                self._take()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    with Provider() as server:
        address = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setattr(when_done, "_RUNPOD", address)
        monkeypatch.setattr(when_done, "_VAST", address)
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    ("environ", "action", "expected"),
    [
        (RUNPOD, "stop", ("POST", "/v1/pods/pod1/stop", "Bearer rpa_secret", None)),
        (RUNPOD, "terminate", ("DELETE", "/v1/pods/pod1", "Bearer rpa_secret", None)),
        (VAST, "stop", ("PUT", "/api/v0/instances/42/", "Bearer vast_secret", {"state": "stopped"})),
        (VAST, "terminate", ("DELETE", "/api/v0/instances/42/", "Bearer vast_secret", None)),
    ],
)
def test_how_a_provider_is_asked(provider: Provider, environ: Mapping[str, str], action: Any, expected: Any) -> None:
    machine = find_machine(environ)
    assert machine is not None
    call_provider(machine, action)
    assert provider.requests == [expected]
    provider.status = 404
    with pytest.raises(EndingFailed, match="HTTP 404") as error:
        call_provider(machine, action)
    assert machine.key not in str(error.value)
    with pytest.raises(EndingFailed, match="cannot be reached"):
        call_provider(RentedMachine("Vast", "1", "key", "http://127.0.0.1:9"), "stop")


@pytest.mark.parametrize(
    ("command", "synced", "environ", "words"),
    [
        ("stop", True, {}, "needs a machine"),
        ("terminate", False, RUNPOD, "deletes this machine's disk"),
        ("first && second", True, {}, "without a shell"),
        ("echo $HOME", True, {}, "without a shell"),
        ("echo > file", True, {}, "without a shell"),
        ("echo 'open", True, {}, "split into words"),
        ("no-such-program now", True, {}, "is not found"),
        ("  ", True, {}, "empty"),
    ],
)
def test_what_is_refused_at_the_start(command: str, synced: bool, environ: Mapping[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        when_done.require_possible(command, synced=synced, environ=environ)


def test_a_command_is_run_without_a_shell_and_for_a_time(tmp_path: Path) -> None:
    environ = {**os.environ, "MODEL_GARDEN_RUN": "run1"}
    run_command("sh -c 'echo $MODEL_GARDEN_RUN > out && echo done'", environ, cwd=tmp_path)
    assert (tmp_path / "out").read_text() == "run1\n"
    run_command("touch 'a file'", environ, cwd=tmp_path)
    assert (tmp_path / "a file").exists()
    with pytest.raises(EndingFailed, match="ended with 3: oh no"):
        run_command("sh -c 'echo oh no; exit 3'", environ, cwd=tmp_path)
    started = time.monotonic()
    with pytest.raises(EndingFailed, match="did not end within 0 s"):
        run_command("sh -c 'sleep 100; touch late'", environ, cwd=tmp_path, seconds=0.3)
    assert time.monotonic() - started < 50


class Ended:
    """A run that has ended, watched with a clock of its own; its command writes a line into a file."""

    def __init__(self, folder: RunFolder, tmp_path: Path, *, environ: Mapping[str, str] = os.environ, **options: Any):
        self.file = tmp_path / "ended"
        self.now = time.time()
        command = f"sh -c 'echo $MODEL_GARDEN_STATE >> {self.file}'"
        request = WatchRequest(**{"when_done": command, "grace": 60.0, **options})
        self.watcher = RunWatcher(
            folder, request, prices={}, environ=dict(environ), clock=lambda: self.now, retry_pause=0.05
        )
        self.watcher.start()

    def after(self, seconds: float) -> list[str]:
        """What was done `seconds` later."""
        self.now += seconds
        for _ in range(2):
            self.watcher.tick()
        return self.file.read_text().split() if self.file.exists() else []

    def close(self) -> None:
        self.watcher.stop()


def finish(folder: RunFolder, kind: str = "finished", **data: Any) -> None:
    with JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, host="here", attempt=1, versions={})
        journal.write(kind, **data)


@pytest.mark.parametrize(
    ("kind", "data", "state"),
    [
        ("finished", {"steps": 1}, "finished"),
        ("failed", {"what": "no memory"}, "failed"),
        ("stopped", {"step": 1, "by": "max_cost (20.00 EUR)"}, "stopped"),
    ],
)
def test_it_happens_once_after_the_grace(
    folder: RunFolder, tmp_path: Path, kind: str, data: dict[str, Any], state: str
) -> None:
    add_result(folder)
    finish(folder, kind, **data)
    ended = Ended(folder, tmp_path)
    assert ended.after(0) == [] and ended.after(59) == []
    assert "in 1 s unless cancelled" in str(ended.watcher.state.ending) or ended.watcher.state.ending["at"] > 0
    assert ended.after(2) == [state]
    assert ended.after(1000) == [state] and ended.watcher.is_done
    ended.close()
    again = Ended(folder, tmp_path)
    assert again.after(1000) == [state], "another process does not do it again"
    again.close()


@pytest.mark.parametrize(
    ("kind", "data", "result"),
    [
        ("stopped", {"step": 1, "by": "me@here (cli)"}, True),  # somebody is there
        ("finished", {"steps": 1}, False),  # the result is gone
    ],
)
def test_when_nothing_happens(folder: RunFolder, tmp_path: Path, kind: str, data: dict[str, Any], result: bool) -> None:
    if result:
        add_result(folder)
    finish(folder, kind, **data)
    ended = Ended(folder, tmp_path)
    assert ended.after(0) == [] and ended.after(1000) == [] and ended.watcher.is_done
    ended.close()


def test_it_can_be_cancelled(folder: RunFolder, tmp_path: Path) -> None:
    add_result(folder)
    finish(folder, steps=1)
    ended = Ended(folder, tmp_path)
    ended.after(10)
    (folder.path / CANCEL_FILE).touch()
    assert ended.after(1000) == [] and ended.watcher.state.ending["text"] == "cancelled"
    ended.close()


def test_it_can_be_cancelled_while_the_run_trains(folder: RunFolder, tmp_path: Path) -> None:
    """The machine is kept although the run, and the watching process, go on; a resumed run has its end again."""
    add_result(folder)
    with JournalWriter(folder.journal_file) as journal, RunLock(folder.lock_file):
        journal.write("started", pid=1, host="here", attempt=1, versions={})
        ended = Ended(folder, tmp_path)
        ended.after(0)
        (folder.path / CANCEL_FILE).touch()
        journal.write("step", step=1, loss=1.0)
        ended.after(10)
        ended.close()
        ended = Ended(folder, tmp_path)
        journal.write("step", step=2, loss=1.0)
        ended.after(10)
        journal.write("finished", steps=2)
    assert ended.after(0) == [] and ended.after(1000) == []
    assert ended.watcher.state.ending["text"] == "cancelled"
    finish(folder, "failed", what="no room")  # resumed, and ended between two looks
    assert ended.after(0) == [] and ended.after(1000) == ["failed"]
    ended.close()


def test_it_waits_for_other_runs_and_is_off_when_the_run_is_resumed(folder: RunFolder, tmp_path: Path) -> None:
    add_result(folder)
    finish(folder, steps=1)
    other = RunFolder.create(folder.home, folder.read_spec(), versions={})
    ended = Ended(folder, tmp_path)
    with RunLock(other.lock_file):
        assert ended.after(0) == [] and ended.after(1000) == []
        assert other.id in ended.watcher.state.ending["text"]
    assert ended.after(0) == [] and "at" in ended.watcher.state.ending
    with JournalWriter(folder.journal_file) as journal:
        journal.write("queued", gpus="0", by="me")
    assert ended.after(1000) == [] and ended.watcher.state.ending == {}
    ended.close()


def test_nothing_ends_before_everything_is_copied(folder: RunFolder, tmp_path: Path) -> None:
    add_result(folder)
    finish(folder, steps=1)
    target = tmp_path / "missing/deep/backup"
    ended = Ended(folder, tmp_path, sync=str(target))
    assert ended.after(0) == [] and ended.after(1000) == []
    assert ended.watcher.state.ending["text"] == "waits until everything is copied"
    target.parent.mkdir(parents=True)
    deadline = time.monotonic() + 30
    while not (target / folder.id / "model/model_garden.json").exists():
        assert time.monotonic() < deadline
        ended.after(1)
        time.sleep(0.05)
    while "at" not in ended.watcher.state.ending:
        assert time.monotonic() < deadline
        ended.after(0)
        time.sleep(0.05)
    assert ended.after(61) == ["finished"]
    ended.close()


def test_a_provider_that_is_away_is_asked_once_it_is_back(
    folder: RunFolder, tmp_path: Path, provider: Provider, inbox: Inbox, until: Until
) -> None:
    add_result(folder)
    finish(folder, steps=1)
    provider.status = 503
    ended = Ended(folder, tmp_path, when_done="stop", grace=0.0, notify={"hook": inbox.webhook}, environ=RUNPOD)
    ended.after(0)
    ended.after(1)
    assert len(provider.requests) == 1 and not ended.watcher.is_done
    provider.status = 200
    for _ in range(3):
        ended.after(61)
    assert [request[:2] for request in provider.requests] == [("POST", "/v1/pods/pod1/stop")] * 2
    until(lambda: ended.watcher.messages_waiting == 0)
    ended.close()
    assert inbox.events() == ["started", "finished", "ending", "ended", "ended"]
    said = [message["text"] for message in inbox.messages if message["event"] == "ended"]
    assert "HTTP 503" in said[0] and "tried again" in said[0] and "was asked to stop pod1" in said[1]
    assert "rpa_secret" not in str(inbox.messages)


def test_a_provider_that_fails_is_asked_again_and_given_up(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_result(folder)
    finish(folder, steps=1)
    tried = []

    def fail(*_args: Any, **_options: Any) -> str:
        tried.append(1)
        raise EndingFailed("HTTP 500")

    monkeypatch.setattr(ending, "end", fail)
    ended = Ended(folder, tmp_path, grace=0.0)
    for _ in range(20):
        ended.after(61)
    assert len(tried) == 5 and ended.watcher.is_done and ended.watcher.state.ending["text"] == "HTTP 500"
    ended.close()
