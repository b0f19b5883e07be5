"""What a review found: work that callers leave behind, what they may write, and what failures say."""

import asyncio
import contextlib
import json
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio.to_thread
import pytest

from mg_tui.api import start
from mg_tui.api.app import create_gate
from mg_tui.core.errors import UsageError
from mg_tui.gate import Listener
from mg_tui.runs.journal_reader import JournalReader

API = "/api/v1"


class IdleEngine:
    """An engine process that says nothing until it is terminated."""

    def __init__(self, program: str):
        self.terminated = threading.Event()

    def stream(self, op, **fields):
        self.terminated.wait(20)
        yield {"event": "generated"}

    def terminate(self) -> None:
        self.terminated.set()

    def close(self, patience: float) -> None:
        assert self.terminated.is_set()


@pytest.fixture
def engines(monkeypatch) -> list[IdleEngine]:
    made: list[IdleEngine] = []

    def make(program):
        made.append(IdleEngine(program))
        return made[-1]

    monkeypatch.setattr("mg_tui.api.engine_stream.EngineProcess", make)
    return made


def test_a_caller_who_leaves_before_the_first_event_gives_the_place_back(garden, engines, monkeypatch) -> None:
    monkeypatch.setattr("mg_tui.api.models._image", lambda _garden, image: image)
    gate = create_gate(garden, Listener(), same_user=lambda _client, _server: True)
    body = json.dumps({"model": "tiny", "prompt": "?", "images": ["a.png"]}).encode()
    headers = {"host": "localhost", "content-type": "application/json", "content-length": str(len(body))}
    path = f"{API}/models/generate"
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }

    async def call() -> None:
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            return messages.pop() if messages else {"type": "http.disconnect"}

        async def send(message):
            await asyncio.sleep(0.01)  # as while earlier answers on this connection are not read

        await asyncio.wait_for(gate(dict(scope), receive, send), 10)

    for _ in range(3):
        asyncio.run(call())
    assert len(engines) == 3 and all(engine.terminated.is_set() for engine in engines)
    with garden.engine_place(), garden.engine_place():
        pass


def test_images_are_fetched_beside_the_event_loop(client, engines, monkeypatch) -> None:
    """A slow address stops nobody else."""
    in_loop: list[bool] = []

    def fetch(_garden, image):
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            in_loop.append(False)
        else:
            in_loop.append(True)
        raise UsageError("no image")

    monkeypatch.setattr("mg_tui.api.models._image", fetch)
    body = {"model": "tiny", "prompt": "?", "images": ["http://slow.example/a.png"]}
    assert client.post(f"{API}/models/generate", json=body).status_code == 422
    assert in_loop == [False] and not engines


def test_rows_of_an_export_are_read_within_the_bounds(client, work, tmp_path, monkeypatch) -> None:
    """Up to the engine, which reads them: it is asked here with what the API sends it."""
    from PIL import Image

    from mg_tui.core.errors import DataError
    from mg_tui.data.policy import read_policy
    from mg_tui.engine.export.export import ExportRequest
    from mg_tui.engine.export.questions import load_rows
    from mg_tui.engine.model_jobs.job import ModelJob
    from mg_tui.runs import launch
    from mg_tui.runs.model_jobs import ModelJobFolder

    Image.new("RGB", (64, 64)).save(tmp_path / "private.png")
    row = {"text": "?", "image": str(tmp_path / "private.png"), "response": "x"}
    (work / "data" / "sly.jsonl").write_text(json.dumps(row) + "\n")
    started: list[ModelJobFolder] = []
    monkeypatch.setattr(launch, "start_worker", lambda folder, gpus=None: started.append(folder))
    body = {"model": "tiny", "output": "out", "format": "merged", "dataset": "data/sly.jsonl"}
    assert client.post(f"{API}/models/export", json=body).status_code == 201
    nothing: Any = None
    job = ModelJob(started[0], nothing, nothing, cwd=work, home=tmp_path, cache=tmp_path)
    request = ExportRequest(**job._request(started[0].read_job_spec()))
    fields = SimpleNamespace(text="text", image="image", response="response")
    metadata = SimpleNamespace(training_spec=lambda: None, fields=fields, base=SimpleNamespace(name="tiny"))
    how: dict[str, Any] = {"cwd": request.cwd, "cache": request.cache, "dataset": request.dataset, "count": 1}
    loaded: Any = SimpleNamespace(metadata=metadata)
    with pytest.raises(DataError):
        load_rows(loaded, **how, policy=read_policy(request.bounds))
    assert len(load_rows(loaded, **how)[0]) == 1  # the owner's own export reads it


def test_what_is_told_of_a_run_is_no_dataset(client, garden, make_run, work) -> None:
    folder = make_run()
    for name in ("watch.json", "watch.log", "watch-state.json"):
        (folder.path / name).write_text(json.dumps([{"text": "https://hooks.example/the-key", "response": "x"}]))
        path = str(folder.path / name)
        (work / "link.json").unlink(missing_ok=True)
        (work / "link.json").symlink_to(path)
        for dataset in (path, "link.json"):
            for form in (None, "csv", "json", "jsonl"):
                params = {"dataset": dataset, **({"dataset_format": form} if form else {})}
                answer = client.get(f"{API}/datasets/rows", params=params)
                assert answer.status_code in (403, 422) and "the-key" not in answer.text, (dataset, form, answer.text)
            assert not garden.paths.policy.allows(work / dataset)
    assert "the-key" not in client.get(f"{API}/datasets/rows", params={"dataset": str(folder.path)}).text
    (work / "watch.json").write_text("[]")  # a name like any other elsewhere
    assert garden.paths.require("watch.json", "dataset")


def test_callers_write_no_results_into_the_folders_of_runs(client, garden, make_run, settings) -> None:
    folder = make_run()
    before = folder.journal_file.read_bytes()
    job = {"base_model": "tiny", "dataset": "data/rows.jsonl"}
    for place in (folder.path / "new", settings.home / "uploads" / "new", settings.home / "evaluations" / "new"):
        for route, body in (
            ("training/jobs", {**job, "output_dir": str(place)}),
            ("models/merge", {"model": "last", "output": str(place)}),
            ("models/export", {"model": "last", "output": str(place), "format": "merged"}),
        ):
            answer = client.post(f"{API}/{route}", json=body)
            assert answer.status_code == 403, (route, answer.text)
    evaluation = {"model": "tiny", "dataset": "data/rows.jsonl", "report": str(folder.journal_file)}
    assert client.post(f"{API}/evaluations", json=evaluation).status_code == 403
    assert folder.journal_file.read_bytes() == before
    assert garden.paths.require_output(str(settings.home / "models" / "mine"), "output")
    assert garden.paths.require_output("./models/mine", "output")


def test_the_trust_in_the_owners_model_is_not_for_a_callers(client, garden, monkeypatch) -> None:
    garden.settings.train.update({"base_model": "owner/model", "trust_remote_code": True})
    specs = []

    def check(spec, *_values, **_options):
        specs.append(spec)
        raise UsageError("stop here")

    monkeypatch.setattr("mg_tui.preflight.dataset_check.check_dataset", check)
    client.post(f"{API}/datasets/check", json={"dataset": "data/rows.jsonl", "base_model": "somebody/else"})
    ((base, trusted),) = [(spec.base_model, spec.trust_remote_code) for spec in specs]
    assert (base, trusted) == ("somebody/else", False)


def test_checks_of_datasets_do_not_take_every_thread(client, garden) -> None:
    body = {"dataset": "data/rows.jsonl", "headers_only": True}
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(garden.check_place())
        answer = client.post(f"{API}/datasets/check", json=body)
        assert answer.status_code == 429 and "try again" in answer.json()["detail"]
    assert client.post(f"{API}/datasets/check", json=body).status_code == 200


def test_the_health_check_needs_no_thread(client) -> None:
    limiter = client.portal.call(anyio.to_thread.current_default_thread_limiter)
    holders = [object() for _ in range(int(limiter.total_tokens))]
    for holder in holders:
        client.portal.call(limiter.acquire_on_behalf_of, holder)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(client.get("/health").status_code), daemon=True)
    asking.start()
    asking.join(20)
    answered = list(answers)
    for holder in holders:
        client.portal.call(limiter.release_on_behalf_of, holder)
    asking.join(20)
    assert answered == [200]


def test_a_failure_is_a_problem_with_the_requests_id(client, garden, monkeypatch) -> None:
    def fail(*_values):
        raise ValueError("a secret of /home/somebody/x")

    monkeypatch.setattr(garden, "page", fail)
    answer = client.get(f"{API}/training/jobs")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.headers["x-request-id"] in answer.json()["detail"] and "somebody" not in answer.text
    openai = client.get("/v1/fine_tuning/jobs")
    assert openai.status_code == 500 and openai.json()["error"]["code"] == "internal-error"


def test_pages_of_openais_events_do_not_hold_the_journal(client, make_run, monkeypatch) -> None:
    job = make_run(steps=300)
    path = f"/v1/fine_tuning/jobs/ftjob-{job.id}/events"
    monkeypatch.setattr(JournalReader, "read_new", lambda _self: pytest.fail("the whole journal is in memory"))
    seen, after = [], None
    while True:
        page = client.get(path, params={"limit": 100, **({"after": after} if after else {})}).json()
        seen += [event["id"] for event in page["data"]]
        if not page["has_more"]:
            break
        after = seen[-1]
    numbers = [int(event.removeprefix("ftevent-")) for event in seen]
    assert len(numbers) == 303  # created, started, every step, finished
    assert numbers == sorted(set(numbers), reverse=True)
    newest = client.get(path, params={"limit": 1}).json()["data"][0]
    assert newest["message"] == "Job finished"


@pytest.mark.parametrize("multiplier", [10**400, -1, 0, "x", [1]])
def test_a_multiplier_that_is_no_number_is_named(client, multiplier) -> None:
    file = client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", b"{}\n")}).json()["id"]
    body = {"model": "tiny", "training_file": file, "hyperparameters": {"learning_rate_multiplier": multiplier}}
    answer = client.post("/v1/fine_tuning/jobs", json=body)
    assert answer.status_code == 422, answer.text
    assert "learning_rate_multiplier" in answer.json()["error"]["message"]


@pytest.mark.parametrize("depth", [400, 5_000])
def test_values_within_values_are_a_plain_error(client, depth) -> None:
    nested = "[" * depth + "]" * depth
    for route, name in (("training/jobs", "base_model"), ("evaluations", "model"), ("models/generate", "prompt")):
        content = f'{{"dataset": "data/rows.jsonl", "{name}": {nested}}}'
        answer = client.post(f"{API}/{route}", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), (route, answer.status_code)


def test_a_folder_above_every_home_is_no_root(monkeypatch, tmp_path) -> None:
    home = tmp_path / "home" / "me"
    (home / "project").mkdir(parents=True)
    monkeypatch.setattr(Path, "home", lambda: home)
    for folder in (home, home.parent, Path("/")):
        monkeypatch.chdir(folder)
        with pytest.raises(UsageError, match="whole home folder"):
            start._default_root(Path.cwd())
    assert start._default_root(home / "project") == home / "project"


def test_the_owners_own_queued_runs_keep_the_owners_tokens(monkeypatch, settings, work) -> None:
    for name in ("HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_DISABLE_IMPLICIT_TOKEN", "NETRC"):
        monkeypatch.setenv(name, "mine")
    seen = []
    monkeypatch.setattr(start, "restart_waiters", lambda *_values: seen.append(os.environ.get("HF_TOKEN")))
    start.make_server(settings, Listener())
    assert seen == ["mine"]
    assert "HF_TOKEN" not in os.environ and os.environ["HF_TOKEN_PATH"] != "mine"
