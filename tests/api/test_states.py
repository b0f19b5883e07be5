"""Sequences of requests made from the OpenAPI document: what one creates, later ones show, stop, run again and delete.

schemathesis links operations by the schemas that the document names and by its links. Processes are not started: jobs
stay in the queue, from where most of what can be done to a job can be done.
"""

import contextlib
import itertools
import zlib
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.errors import FlakyStrategyDefinition
from hypothesis.stateful import run_state_machine_as_test

from mg_tui.api import engine_stream, evaluations, job_actions, model_jobs, servers
from mg_tui.api.app import create_gate
from mg_tui.api.garden import Garden
from mg_tui.api.job_events import EventFeeds
from mg_tui.api.paths import AllowedPaths
from mg_tui.config import Settings
from mg_tui.core.errors import EnvironmentProblem
from mg_tui.data.synthetic.vision_dataset import create_vision_dataset
from mg_tui.gate import Listener
from mg_tui.preflight import token_view
from mg_tui.runs import launch
from tests.api.conftest import UNLIMITED

_SEQUENCES_OF_A_RUN = 4
DATASET = "data/vision_dataset.jsonl"
# Random bodies are refused nearly always; three of four are replaced by these.
BODIES: dict[str, dict[str, Any]] = {
    "job_create": {"base_model": "tiny", "dataset": DATASET, "device": "cpu", "max_steps": 2},
    "job_rerun": {"max_steps": 3},
    "job_resume": {},
    "job_stop": {"now": False},
    "job_move": {"position": "first"},
    "model_serve": {"models": ["tiny"]},
    "evaluation_create": {"model": "tiny", "dataset": DATASET, "gpus": "cpu"},
}
CHECKS = [
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
    schemathesis.checks.use_after_free,
]


def _refuse(*_args, **_more):
    raise EnvironmentProblem("no engine in this test")


class FreshGate:
    """The API over a home that is empty again whenever it is told to begin."""

    def __init__(self, folder, work):
        self._folder, self._work, self._count = folder, work, itertools.count()
        self.begin()

    def begin(self) -> None:
        home = self._folder / f"home-{next(self._count)}"
        paths = AllowedPaths([self._work], self._work, home)
        garden = Garden(Settings(home=home, cache=self._folder / "cache"), paths)
        garden.feeds = EventFeeds()
        listener = Listener(allowed_hosts=("testserver",))
        self._gate = create_gate(garden, listener, limits=UNLIMITED, same_user=lambda _client, _server: True)

    async def __call__(self, scope, receive, send) -> None:
        await self._gate(scope, receive, send)


@pytest.fixture
def gate(tmp_path, monkeypatch) -> FreshGate:
    work = tmp_path / "work"
    create_vision_dataset(work / "data" / "vision_dataset.jsonl", 2, force=True)
    monkeypatch.chdir(work)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("start_waiter", "start_worker"):
        monkeypatch.setattr(launch, name, lambda *_args, prepare=None, **_more: prepare() if prepare else None)
    for module in (engine_stream, token_view):
        monkeypatch.setattr(module, "EngineProcess", _refuse)
    for module in (evaluations, job_actions, model_jobs, servers):
        monkeypatch.setattr(module, "PATIENCE", 0.0)
    return FreshGate(tmp_path, work)


def _try_sequences(gate, runs: int, steps: int, paths: str = "/") -> dict[tuple[str, int], int]:
    """Try sequences of requests, four in each run; returns how often each operation was answered with each status."""
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", gate)
    followed = schema.include(path_regex=paths).exclude(operation_id="job_events")  # of a job that does not end
    answered: dict[tuple[str, int], int] = {}

    class Sequences(followed.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            gate.begin()

        def before_call(self, case) -> None:
            body = BODIES.get(case.operation.definition.raw["operationId"])
            if body is not None and zlib.crc32(repr(case.body).encode()) % 4:
                case.body = dict(body)

        def validate_response(self, response, case, additional_checks=None, **kwargs) -> None:
            name = case.operation.definition.raw["operationId"]
            answered[name, response.status_code] = answered.get((name, response.status_code), 0) + 1
            assert response.status_code < 500 or response.status_code == 503, (name, response.text)
            case.validate_response(response, checks=CHECKS, transport_kwargs=kwargs)

    for number in range(runs):
        # What a server answers depends on the time as well, which Hypothesis notices when sequences begin alike.
        with contextlib.suppress(FlakyStrategyDefinition):
            run_state_machine_as_test(
                seed(number)(Sequences),
                settings=settings(
                    max_examples=_SEQUENCES_OF_A_RUN,
                    stateful_step_count=steps,
                    deadline=None,
                    derandomize=False,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                    phases=[Phase.generate],
                ),
            )
    return answered


def _done(answered, name: str) -> bool:
    return any(one == name and code < 300 for one, code in answered)


def test_sequences_of_requests(gate) -> None:
    answered = _try_sequences(gate, 1, 12, "/training/")
    done = {name for name, code in answered if code < 300}
    assert "job_create" in done and len(done) >= 4, answered


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_many_sequences_of_requests(gate) -> None:
    answered = _try_sequences(gate, 40, 40)
    print(sorted(answered.items()))
    for action in ("create", "show", "stop", "hold", "release", "move", "rerun", "annotate", "delete", "logs"):
        assert _done(answered, f"job_{action}"), (action, answered)
    for name in (
        "trash_restore",
        "server_show",
        "evaluation_create",
        "evaluation_show",
        "file_upload",
        "file_show",
        "file_delete",
    ):
        assert _done(answered, name), (name, answered)
