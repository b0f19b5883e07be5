"""Servers over HTTP: those of the command line, within what a caller may do."""

import json
import socket
from typing import Any

import openai
import pytest

from mg_tui.cli.main import main
from mg_tui.core.serve_spec import ServeSpec
from mg_tui.preflight.serving import first_free_port
from mg_tui.runs import launch
from mg_tui.runs.caller_bounds import read_caller_bounds
from mg_tui.runs.control import ControlInbox
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
from mg_tui.runs.servers import ServerFolder
from tests.api.conftest import start_server, stop_everything, wait_for

API = "/api/v1/models"


@pytest.fixture
def started(monkeypatch) -> list[tuple[ServerFolder, Any]]:
    folders: list[tuple[ServerFolder, Any]] = []

    def start(folder: ServerFolder, gpus: object = None) -> int:
        folders.append((folder, gpus))
        return 1

    monkeypatch.setattr(launch, "start_worker", start)
    return folders


def test_a_server_begun_here_is_seen_by_the_command_line(client, settings, work, started, capsys) -> None:
    (work / "model.gguf").write_bytes(b"GGUF")
    body = {"models": ["mine=./model.gguf"], "gpus": "cpu", "proof_rows": 2}
    made = client.post(f"{API}/serve", json=body, headers={"Idempotency-Key": "once"})
    assert made.status_code == 201 and made.json()["object"] == "server", made.text
    again = client.post(f"{API}/serve", json=body, headers={"Idempotency-Key": "once"})
    assert again.json()["id"] == made.json()["id"]
    assert made.headers["Location"] == made.json()["links"]["self"] == f"{API}/servers/{made.json()['id']}"
    folder, gpus = started[0]
    spec = folder.read_serve_spec()
    assert spec.models == (f"mine={work / 'model.gguf'}",) and spec.proof_rows == 2 and gpus == ("cpu",)
    assert spec.host == "127.0.0.1" and read_caller_bounds(folder.path) is not None
    with pytest.raises(SystemExit):
        main(["--home", str(settings.home), "servers", "--all", "--json"])
    [listed] = json.loads(capsys.readouterr().out)
    assert listed["id"] == made.json()["id"]


def test_without_a_port_it_is_the_first_free_one(client, work, started, monkeypatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(first_free_port, "__defaults__", ("127.0.0.1", port, 20))
        assert client.post(f"{API}/serve", json={"models": "tiny"}).status_code == 201
        assert client.post(f"{API}/serve", json={"models": "tiny", "port": port}).status_code == 201
    chosen = [folder.read_serve_spec().port for folder, _gpus in started]
    assert chosen[0] != port and chosen[1] == port


def test_a_server_begun_elsewhere_is_shown_stopped_and_deleted(client, settings, work) -> None:
    folder = ServerFolder.create(settings.home, ServeSpec(models=("tiny",)), cwd=work)
    status = {"url": "http://127.0.0.1:8080/v1", "models": ["tiny"], "requests": 7, "requests_per_second": 0.5}
    proof = {"tiny": {"outcome": "none", "why": "no rows in /secret/place/rows.jsonl"}}
    folder.status_file.write_text(json.dumps({**status, "latency_seconds": 0.25, "proof": proof}))
    with RunLock(folder.lock_file), JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, host="here", attempt=1, resumed_from=None)
        journal.write("phase", name="serving", detail=None)
        [shown] = client.get(f"{API}/servers", params={"state": "running"}).json()["data"]
        assert (shown["requests"], shown["requests_per_second"], shown["latency_seconds"]) == (7, 0.5, 0.25)
        assert shown["url"] == status["url"] and shown["phase"] == "serving" and shown["models"] == ["tiny"]
        assert client.get(f"{API}/servers/{folder.id}").json()["id"] == folder.id
        assert client.delete(f"{API}/servers/{folder.id}").status_code == 409
        assert client.post(f"{API}/servers/{folder.id}/stop").status_code == 202
        [request] = ControlInbox(folder).take()
        assert request.request == "stop" and "api" in request.by
        journal.write("failed", what="no", why="see /secret/place", exit_code=1)
    ended = client.get(f"{API}/servers/{folder.id}")
    assert ended.json()["state"] == "failed" and ended.json()["url"] is None and "/secret" not in ended.text
    assert client.get(f"{API}/servers", params={"state": "running"}).json()["data"] == []
    folder.log_file.write_text("loading\n")
    (folder.path / "vllm.log").write_text("ready at /secret/place/model\n")
    said = client.get(f"{API}/servers/{folder.id}/logs").json()["data"]
    assert said == ["ready at (a path)", "loading"]
    assert client.post(f"{API}/servers/{folder.id}/stop").status_code == 409
    assert client.delete(f"{API}/servers/{folder.id}").status_code == 204 and not folder.path.exists()
    assert client.get(f"{API}/servers/{folder.id}").status_code == 404


def test_what_others_could_call_needs_scope_admin_and_what_the_command_line_needs(
    remote, store, work, settings, started
) -> None:
    run, admin = ({"Authorization": f"Bearer {store.create(scope, scope)}"} for scope in ("run", "admin"))
    (work / "key.pem").write_text("no key")
    serve = f"{API}/serve"
    for more in (
        {"host": "0.0.0.0"},
        {"host": "0.0.0.0", "tls_cert": "key.pem", "tls_key": "key.pem"},
        {"host": "box.example"},
        {"behind_proxy": True},
        {"allow_host": ["gpu.example.org"]},
        {"tls_cert": "key.pem", "tls_key": "key.pem"},
    ):
        answer = remote.post(serve, json={"models": ["tiny"], **more}, headers=run)
        assert answer.status_code == 403 and "needs scope admin" in answer.json()["detail"], (more, answer.text)
    refusals: tuple[tuple[dict[str, Any], str], ...] = (
        ({"host": "0.0.0.0"}, "without TLS"),
        ({"host": "0.0.0.0", "behind_proxy": True}, "--allow-host"),
        ({"tls_cert": "key.pem"}, "belong together"),
    )
    for asked, words in refusals:
        answer = remote.post(serve, json={"models": ["tiny"], **asked}, headers=admin)
        assert answer.status_code == 422 and words in answer.json()["detail"], (asked, answer.text)
    assert not started and not (settings.home / "servers").exists()
    public = {"host": "0.0.0.0", "behind_proxy": True, "allow_host": ["gpu.example.org"]}
    assert remote.post(serve, json={"models": ["tiny"], **public}, headers=admin).status_code == 201
    assert remote.post(serve, json={"models": ["tiny"], "host": "localhost"}, headers=run).status_code == 201
    assert [folder.read_serve_spec().behind_proxy for folder, _gpus in started] == [True, False]


def test_what_cannot_be_served_starts_nothing(client, settings, work, tmp_path, started) -> None:
    (tmp_path / "vision.gguf").write_bytes(b"GGUF")
    for body, status in (
        ({}, 422),
        ({"models": []}, 422),
        ({"models": ["tiny"], "port": 70_000}, 422),
        ({"models": ["tiny"], "prot": 1}, 422),
        ({"models": ["./gone"]}, 422),
        ({"models": ["mine=../other"]}, 403),
        ({"models": ["tiny", "/etc"]}, 403),
        ({"models": ["tiny"], "base_model": "/etc"}, 403),
        ({"models": ["tiny"], "dataset": "../rows.jsonl"}, 403),
        ({"models": ["x.gguf"], "mmproj": "../vision.gguf"}, 403),
        ({"models": ["tiny"], "gpus": 7}, 422),
    ):
        answer = client.post(f"{API}/serve", json=body)
        assert answer.status_code == status, (body, answer.text)
    assert not started and not (settings.home / "servers").exists()
    locks = []
    for _ in range(4):
        folder = ServerFolder.create(settings.home, ServeSpec(models=("tiny",)), cwd=work)
        locks.append(RunLock(folder.lock_file).acquire())
        with JournalWriter(folder.journal_file) as journal:
            journal.write("started", pid=1, host="here", attempt=1, resumed_from=None)
    try:
        answer = client.post(f"{API}/serve", json={"models": ["tiny"]})
        assert answer.status_code == 429 and "stop one first" in answer.json()["detail"] and not started
    finally:
        for lock in locks:
            lock.release()


def test_a_server_answers_until_it_is_stopped(work, tmp_path) -> None:
    """A real one: found by its address, and proved on no row whose image the caller may not read."""
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "private.png")
    row = {"text": "?", "image": str(tmp_path / "private.png"), "response": "x"}
    (work / "data" / "sly.jsonl").write_text(json.dumps(row) + "\n")
    server = start_server(tmp_path / "home", work)
    try:
        with server.client as client:
            body = {"models": ["demo=tiny"], "engine": "builtin", "device": "cpu", "dataset": "data/sly.jsonl"}
            made = client.post(f"{API}/serve", json={**body, "port": 0})
            assert made.status_code == 201, made.text
            path = made.headers["Location"]

            def serving() -> Any:
                shown = client.get(path).json()
                assert shown["error"] is None, shown["error"]
                return shown if shown["phase"] == "serving" else None

            shown = wait_for(serving)
            assert shown["proof"]["demo"]["outcome"] == "none" and "no row" in shown["proof"]["demo"]["why"]
            with openai.OpenAI(base_url=shown["url"], api_key="unused", max_retries=0) as asked:
                messages: Any = [{"role": "user", "content": "What is it?"}]
                answer = asked.chat.completions.create(model="demo", messages=messages, max_tokens=3)
            assert answer.choices[0].message.content
            counted = wait_for(lambda: (now := client.get(path).json())["latency_seconds"] and now)
            assert counted["requests"] == 1 and counted["latency_seconds"] > 0
            assert client.post(f"{path}/stop").status_code == 202
            assert wait_for(lambda: (now := client.get(path).json())["state"] == "stopped" and now)["url"] is None
    finally:
        server.end()
        stop_everything(server.home)
