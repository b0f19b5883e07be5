"""Requests made from the OpenAPI document, good and bad: no failure, and no answer that the document does not have.

Nothing is started: what would start a process says that it cannot.
"""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from mg_tui.api import engine_stream
from mg_tui.api.access import API_RULES
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

DOCUMENT = "/api/v1/openapi.json"
CHECKS = (
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
)


def _refuse(*_args, **_more):
    raise EnvironmentProblem("nothing is started in this test")


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    work = tmp_path_factory.mktemp("work")
    create_vision_dataset(work / "data" / "vision_dataset.jsonl", 2, force=True)
    patch.chdir(work)
    patch.setenv("HF_HUB_OFFLINE", "1")
    for module, name in ((launch, "start_waiter"), (launch, "start_worker")):
        patch.setattr(module, name, _refuse)
    for module in (engine_stream, token_view):
        patch.setattr(module, "EngineProcess", _refuse)
    home = work / "home"
    garden = Garden(Settings(home=home, cache=work / "cache"), AllowedPaths([work], work, home))
    garden.feeds = EventFeeds()
    yield create_gate(
        garden, Listener(allowed_hosts=("testserver",)), limits=UNLIMITED, same_user=lambda _client, _server: True
    )
    patch.undo()


@pytest.fixture(scope="module")
def loaded_schema(gate):
    return schemathesis.openapi.from_asgi(DOCUMENT, gate)


_HEALTH = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
_ROUTES = [
    pytest.param(rule.method, rule.path, id=f"{rule.method} {rule.path}") for rule in API_RULES if rule.path != DOCUMENT
]


def _check(loaded_schema, method, path, examples: int) -> None:
    operation = loaded_schema[path][method]

    @settings(max_examples=examples, deadline=None, suppress_health_check=_HEALTH, derandomize=True, database=None)
    @given(case=operation.as_strategy())
    def check(case) -> None:
        answer = case.call()
        assert answer.status_code < 500 or answer.status_code == 503, (method, path, answer.text)
        case.validate_response(answer, checks=list(CHECKS))

    check()


@pytest.mark.parametrize(("method", "path"), _ROUTES)
def test_requests_of_the_document(loaded_schema, method, path) -> None:
    _check(loaded_schema, method, path, 3)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), _ROUTES)
def test_many_requests_of_the_document(loaded_schema, method, path) -> None:
    _check(loaded_schema, method, path, 200)
