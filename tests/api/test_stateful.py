"""Chains of requests made from the OpenAPI document: what one answers is what the next is about.

A job that is created is shown, stopped, moved, annotated, resumed, deleted, restored; so are evaluations, merges, exports,
servers and OpenAI's files and jobs. Processes are stood in for: a worker finishes at once, a waiting one does nothing.
Half of the creations have a body that can be done, since random ones hardly ever name a model and a dataset that exist.
"""

import collections
import shutil

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from mg_tui.api import engine_stream
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
GOOD_BODIES = {
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
}
# A checkpoint is asked of a running worker, of which there is none.
NEVER_DONE = {"POST /api/v1/training/jobs/{job_id}/checkpoint"}


def _finish_at_once(folder, gpus=None, *, prepare=None) -> int:
    with RunLock(folder.lock_file), JournalWriter(folder.journal_file) as journal:
        if prepare is not None:
            prepare()
        journal.write("started", pid=1, host="box", attempt=1, resumed_from=None, versions={})
        journal.write("plan", steps=2, examples=4)
        for step in (1, 2):
            journal.write("step", step=step, loss=1 / step, learning_rate=1e-4, seconds=0.5, tokens=10, images=1)
        journal.write("finished", steps=2)
    return 1


def _refuse(*_args, **_more):
    raise EnvironmentProblem("no engine is started in this test")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    work = tmp_path_factory.mktemp("work")
    create_vision_dataset(work / DATASET, 2, force=True)
    patch.chdir(work)
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setattr(launch, "start_worker", _finish_at_once)
    patch.setattr(launch, "start_waiter", lambda _folder: 1)
    for module in (engine_stream, token_view):
        patch.setattr(module, "EngineProcess", _refuse)
    yield work / "home"
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
    return schema


def _explore(schema, home, chains: int, steps: int) -> collections.Counter[tuple[str, int]]:
    """Follow chains and return how often each operation had each status."""
    seen: collections.Counter[tuple[str, int]] = collections.Counter()
    files: list[str] = []

    class Chains(schema.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            for name in ("runs", "trash", "evaluations", "jobs", "servers", "idempotency", "queue"):
                shutil.rmtree(home / name, ignore_errors=True)
            shutil.rmtree(home.parent / "models", ignore_errors=True)
            files.clear()
            self._turn = 0

        def before_call(self, case) -> None:
            label, self._turn = case.operation.label, self._turn + 1
            if (good := GOOD_BODIES.get(label)) is not None and self._turn % 2:
                case.body = {**good, "output": f"models/{self._turn}"} if "output" in good else dict(good)
                case.media_type, case.query, case.headers = "application/json", {}, {}
                if label == "POST /v1/fine_tuning/jobs" and files:
                    case.body["training_file"] = files[-1]
            if case.operation.path.endswith("/events"):  # of a job that waits, the stream does not end
                folder = RunFolder(home / "runs" / str(case.path_parameters.get("job_id", "")).removeprefix("ftjob-"))
                if folder.journal_file.is_file() and summarize_run(folder).state is RunState.QUEUED:
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


def test_chains_of_requests(schema, home) -> None:
    seen = _explore(schema.include(path_regex="^/api/v1/training/jobs"), home, 5, 8)
    about_jobs = {label for label in _succeeded(seen) if "{job_id}" in label}
    assert "POST /api/v1/training/jobs" in _succeeded(seen) and len(about_jobs) >= 2, seen


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_chains_of_requests(schema, home) -> None:
    """Every operation about a resource is done to one that exists."""
    seen = _explore(schema, home, 150, 25)
    labels = {operation.ok().label for operation in schema.get_all_operations()}
    never = {label for label in labels if "{" in label} - _succeeded(seen)
    print(f"{sum(seen.values())} requests; never done: {sorted(never)}")
    assert not never - NEVER_DONE
