"""Merges and exports over HTTP: jobs like those of the command line, seen in either."""

import json
from typing import Any

import pytest

from mg_tui.cli.main import main
from mg_tui.core.errors import RunFailed
from mg_tui.core.model_job_spec import ExportSpec, PushSpec
from mg_tui.runs import launch
from mg_tui.runs.caller_bounds import read_caller_bounds
from mg_tui.runs.control import ControlInbox
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
from mg_tui.runs.model_jobs import ModelJobFolder

API = "/api/v1/models"


@pytest.fixture
def started(monkeypatch) -> list[ModelJobFolder]:
    folders: list[ModelJobFolder] = []

    def start(folder: ModelJobFolder, gpus: object = None) -> int:
        folders.append(folder)
        return 1

    monkeypatch.setattr(launch, "start_worker", start)
    return folders


def test_a_job_begun_here_is_seen_by_the_command_line(client, settings, work, started, capsys) -> None:
    body = {"model": "tiny", "output": "./models/out", "format": "gguf", "quantization": ["F16"], "rows": 3}
    made = client.post(f"{API}/export", json=body, headers={"Idempotency-Key": "once"})
    assert made.status_code == 201 and made.json()["object"] == "model.job", made.text
    again = client.post(f"{API}/export", json=body, headers={"Idempotency-Key": "once"})
    assert again.json()["id"] == made.json()["id"] and made.headers["Location"] == f"{API}/jobs/{made.json()['id']}"
    spec = started[0].read_job_spec()
    assert isinstance(spec, ExportSpec) and spec.quantization == ("F16",) and spec.rows == 3
    assert spec.output == str(work / "models" / "out") and read_caller_bounds(started[0].path) is not None
    with pytest.raises(SystemExit):
        main(["--home", str(settings.home), "jobs", "--json"])
    [listed] = json.loads(capsys.readouterr().out)
    assert listed["id"] == made.json()["id"] and listed["operation"] == "export"
    assert client.delete(f"{API}/jobs/{made.json()['id']}").status_code == 204
    gone = client.post(f"{API}/export", json=body, headers={"Idempotency-Key": "once"})
    assert (gone.status_code, gone.json()["type"]) == (410, "urn:model-garden:problem:job-deleted")
    assert client.get(f"{API}/jobs").json()["data"] == [] and len(started) == 2


def test_a_job_begun_elsewhere_is_shown_stopped_and_deleted(client, settings, work) -> None:
    folder = ModelJobFolder.create(settings.home, PushSpec(model="mine", repository="me/mine"), cwd=work)
    with RunLock(folder.lock_file), JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, host="here", attempt=1, resumed_from=None)
        journal.write("plan", steps=10)
        journal.write("phase", name="sending model.safetensors", detail=None)
        journal.write("step", step=4)
        shown: dict[str, Any] = client.get(f"{API}/jobs/{folder.id}").json()
        assert (shown["phase"], shown["done"], shown["total"]) == ("sending model.safetensors", 4, 10)
        assert client.delete(f"{API}/jobs/{folder.id}").status_code == 409
        assert client.post(f"{API}/jobs/{folder.id}/stop").status_code == 202
        [request] = ControlInbox(folder).take()
        assert request.request == "stop" and "api" in request.by
        error = RunFailed("the Hub refused the push", where="/secret/place", why="see /secret/place")
        journal.write("failed", **error.as_dict(), exit_code=1)
    assert [job["state"] for job in client.get(f"{API}/jobs").json()["data"]] == ["failed"]
    said = client.get(f"{API}/jobs/{folder.id}").text
    assert "the Hub refused the push" in said and "/secret" not in said
    assert client.delete(f"{API}/jobs/{folder.id}").status_code == 204 and not folder.path.exists()
    assert client.get(f"{API}/jobs/{folder.id}").status_code == 404


def test_what_cannot_be_done_starts_nothing(client, settings, work, started) -> None:
    for route, body, status in (
        ("merge", {"model": "tiny"}, 422),
        ("merge", {"model": "tiny", "output": "../out"}, 403),
        ("export", {"model": "tiny", "output": "out", "format": "merged", "adapter": True}, 422),
        ("export", {"model": "tiny", "output": "out", "format": "onnx"}, 422),
        ("export", {"model": "tiny", "output": "out", "format": "vllm", "dataset": "../rows.jsonl"}, 403),
        ("merge", {"model": "tiny", "output": "data"}, 422),  # not empty
        ("merge", {"model": "tiny", "output": "out", "operation": "push"}, 422),
    ):
        answer = client.post(f"{API}/{route}", json=body)
        assert answer.status_code == status, (route, body, answer.text)
    assert not started
    running = []
    for _ in range(2):
        folder = ModelJobFolder.create(settings.home, PushSpec(model="mine", repository="me/mine"), cwd=work)
        running.append(RunLock(folder.lock_file).acquire())
        with JournalWriter(folder.journal_file) as journal:
            journal.write("started", pid=1, host="here", attempt=1, resumed_from=None)
    try:
        assert client.post(f"{API}/merge", json={"model": "tiny", "output": "out"}).status_code == 429 and not started
    finally:
        for lock in running:
            lock.release()
