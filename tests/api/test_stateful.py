"""Chains of requests made from the OpenAPI document: what one answers is what the next is about.

A job that is created is shown, stopped, moved, annotated, resumed, deleted, restored; so are evaluations, merges,
exports, servers and OpenAI's files and jobs. Processes are stood in for: one worker stays, one finishes at once, the
next stops; one that waits for a device does nothing. Half of the creations have a body that can be done, since random
ones hardly ever name a model and a dataset that exist.
"""

import collections
import shutil
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from mg_tui.api import engine_stream, job_actions, work
from mg_tui.api.app import create_gate
from mg_tui.api.garden import Garden
from mg_tui.api.job_events import EventFeeds
from mg_tui.api.paths import AllowedPaths
from mg_tui.config import Settings
from mg_tui.core.errors import EnvironmentProblem
from mg_tui.data.synthetic.vision_dataset import create_vision_dataset
from mg_tui.gate import Listener
from mg_tui.preflight import token_view
from mg_tui.runs import launch, queue
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
from mg_tui.runs.state import RunState
from mg_tui.runs.store import summarize_run
from tests.api.conftest import UNLIMITED
from tests.api.test_schema import CHECKS, DOCUMENT

DATASET = "data/rows.jsonl"
GOOD_BODIES: dict[str, dict[str, Any]] = {
    "POST /api/v1/training/jobs": {"base_model": "tiny", "dataset": DATASET, "device": "cpu", "max_steps": 2},
    "POST /api/v1/training/jobs/{job_id}/rerun": {"max_steps": 3},
    "POST /api/v1/training/jobs/{job_id}/resume": {"from_start": True},
    "POST /api/v1/evaluations": {"model": "tiny", "dataset": DATASET, "device": "cpu"},
    "POST /api/v1/models/merge": {"model": "tiny", "output": "models/merged"},
    "POST /api/v1/models/export": {"model": "tiny", "output": "models/exported", "format": "merged"},
    "POST /api/v1/models/serve": {"models": ["tiny"], "device": "cpu", "port": 0},
    "POST /v1/fine_tuning/jobs": {"model": "tiny", "device": "cpu", "max_steps": 2},
}
# What the names of parameters do not say: which resource an id of an answer is of.
LINKED = {
    ("/api/v1/models/merge", "201"): ("/api/v1/models/jobs/{job_id}", "job_id"),
    ("/api/v1/models/export", "201"): ("/api/v1/models/jobs/{job_id}", "job_id"),
    ("/api/v1/models/serve", "201"): ("/api/v1/models/servers/{server_id}", "server_id"),
    ("/v1/files", "200"): ("/v1/files/{file_id}", "file_id"),
    ("/v1/fine_tuning/jobs", "200"): ("/v1/fine_tuning/jobs/{job_id}", "job_id"),
}
# There are no checkpoints; chains hardly ever come to a job that runs just then, or to the trash with one in it.
NEVER_DONE = {
    "DELETE /api/v1/training/jobs/{job_id}/checkpoints/{step}",
    "POST /api/v1/training/jobs/{job_id}/checkpoint",
    "POST /api/v1/training/trash/{job_id}/restore",
    "POST /api/v1/evaluations/{evaluation_id}/stop",
}


class Workers:
    """What stands in for the processes of runs, evaluations, merges and servers."""

    def __init__(self):
        self._running: dict[Path, tuple[RunLock, JournalWriter]] = {}
        self._count = 0

    def start(self, folder, gpus=None, *, prepare=None) -> int:
        lock = RunLock(folder.lock_file).acquire()
        if prepare is not None:
            prepare()
        journal = JournalWriter(folder.journal_file)
        journal.write("started", pid=1, host="box", attempt=1, resumed_from=None, versions={})
        journal.write("plan", steps=2, examples=4)
        for step in (1, 2):
            journal.write("step", step=step, loss=1 / step, learning_rate=1e-4, seconds=0.5, tokens=10, images=1)
        self._running[folder.path] = (lock, journal)
        self._count += 1
        if self._count % 3 == 1:
            self.end(folder.path, "finished", steps=2)
        elif self._count % 3 == 2:
            self.end(folder.path, "stopped", step=2, by="me")
        return 1

    def end(self, path: Path, how: str = "finished", **values) -> None:
        if path in self._running:
            lock, journal = self._running.pop(path)
            journal.write(how, **(values or {"steps": 2}))
            journal.close()
            lock.release()

    def end_all(self) -> None:
        for path in list(self._running):
            self.end(path)
        self._count = 0  # every chain begins alike, which hypothesis depends on


def _refuse(*_args, **_more):
    raise EnvironmentProblem("no engine is started in this test")


@pytest.fixture(scope="module")
def workers():
    workers = Workers()
    yield workers
    workers.end_all()


@pytest.fixture(scope="module")
def home(tmp_path_factory, workers):
    patch = pytest.MonkeyPatch()
    place = tmp_path_factory.mktemp("work")
    create_vision_dataset(place / DATASET, 2, force=True)
    patch.chdir(place)
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setattr(launch, "start_worker", workers.start)
    for module in (work, job_actions):
        patch.setattr(module, "PATIENCE", 0.0)  # nobody answers a request
    patch.setattr(launch, "start_waiter", lambda _folder: 1)
    for module in (engine_stream, token_view):
        patch.setattr(module, "EngineProcess", _refuse)
    yield place / "home"
    patch.undo()


@pytest.fixture(scope="module")
def schema(home):
    work = home.parent
    garden = Garden(Settings(home=home, cache=work / "cache"), AllowedPaths([work], work, home))
    garden.feeds = EventFeeds()
    gate = create_gate(
        garden, Listener(allowed_hosts=("testserver",)), limits=UNLIMITED, same_user=lambda _client, _server: True
    )
    schema = schemathesis.openapi.from_asgi(DOCUMENT, gate)
    paths = schema.raw_schema["paths"]
    for (source, status), (target, name) in LINKED.items():
        links = paths[source]["post"]["responses"][status].setdefault("links", {})
        for at, item in paths.items():
            for method in item if at == target or at.startswith(f"{target}/") else ():
                reference = at.replace("/", "~1")
                links[f"{method} {at}"] = {
                    "operationRef": f"#/paths/{reference}/{method}",
                    "parameters": {name: "$response.body#/id"},
                }
    paths["/api/v1/training/trash"]["get"]["responses"]["200"]["links"] = {
        "restore": {
            "operationRef": "#/paths/~1api~1v1~1training~1trash~1{job_id}~1restore/post",
            "parameters": {"job_id": "$response.body#/data/0/id"},
        }
    }
    return schema


def _explore(schema, home, workers, chains: int, steps: int) -> collections.Counter[tuple[str, int]]:
    """Follow chains and return how often each operation had each status."""
    seen: collections.Counter[tuple[str, int]] = collections.Counter()
    files: list[str] = []

    class Chains(schema.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            workers.end_all()
            for name in ("runs", "trash", "evaluations", "jobs", "servers", "idempotency", "queue"):
                shutil.rmtree(home / name, ignore_errors=True)
            shutil.rmtree(home.parent / "models", ignore_errors=True)
            files.clear()
            self._turn = 0

        def before_call(self, case) -> None:
            label, self._turn = case.operation.label, self._turn + 1
            if label == "POST /v1/files" and self._turn % 2:
                case.body = {"file": (home.parent / DATASET).read_bytes(), "purpose": "fine-tune"}
                case.media_type, case.query, case.headers = "multipart/form-data", {}, {}
            elif (good := GOOD_BODIES.get(label)) is not None and self._turn % 2:
                case.body = {**good, "output": f"models/{self._turn}"} if "output" in good else dict(good)
                case.media_type, case.query, case.headers = "application/json", {}, {}
                if label == "POST /v1/fine_tuning/jobs" and files:
                    case.body["training_file"] = files[-1]
            if case.operation.path.endswith("/events"):  # of a job that waits, the stream does not end
                folder = RunFolder(home / "runs" / str(case.path_parameters.get("job_id", "")).removeprefix("ftjob-"))
                if folder.journal_file.is_file():
                    workers.end(folder.path)
                    if summarize_run(folder).state is RunState.QUEUED:
                        queue.cancel_queued(folder, "test")

        def after_call(self, response, case) -> None:
            seen[case.operation.label, response.status_code] += 1
            if case.operation.label == "POST /v1/files" and response.status_code == 200:
                files.append(response.json()["id"])

        def validate_response(self, response, case, additional_checks=None, **kwargs) -> None:
            about = (case.operation.label, case.path_parameters, case.query, case.body, response.text)
            assert response.status_code < 500 or response.status_code == 503, about
            stream = response.headers.get("content-type", [""])[0].startswith("text/event-stream")
            # It reads a stream's schema as that of each event; the document has that of the text.
            checks = [check for check in CHECKS if not (stream and "schema" in check.__name__)]
            case.validate_response(response, checks=checks)

    Chains.run(
        settings=settings(
            max_examples=chains,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
    )
    return seen


def _succeeded(seen) -> set[str]:
    return {label for label, status in seen if status < 300}


def test_chains_of_requests(schema, home, workers) -> None:
    seen = _explore(schema.include(path_regex="^/api/v1/training/jobs"), home, workers, 5, 8)
    about_jobs = {label for label in _succeeded(seen) if "{job_id}" in label}
    assert "POST /api/v1/training/jobs" in _succeeded(seen) and len(about_jobs) >= 2, seen


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("part", "chains"), [("/training/", 60), ("/evaluations", 60), ("/models", 40), ("/", 60)])
def test_many_chains_of_requests(schema, home, workers, part, chains) -> None:
    """In the parts of our own API, what can be done to a resource is done to one that exists."""
    included = schema.include(path_regex=part)
    seen = _explore(included, home, workers, chains, 25)
    about = {operation.ok().label for operation in included.get_all_operations() if "{" in operation.ok().label}
    never = about - _succeeded(seen) - NEVER_DONE
    print(f"{part}: {sum(seen.values())} requests, {len(seen)} kinds of answers; never done: {sorted(never)}")
    assert part == "/" or not never
