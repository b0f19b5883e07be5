"""`/models/serve` and `/models/servers`: the servers that the command line and the dashboard have, too."""

import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Query, Request
from fastapi.responses import Response

from mg_tui.api import docs, work
from mg_tui.api.access import NATIVE
from mg_tui.api.errors import ApiError
from mg_tui.api.garden import CallerOf, Garden, GardenOf
from mg_tui.api.job_creation import read_gpus
from mg_tui.api.jobs import KeyHeader
from mg_tui.api.resources import (
    AfterQuery,
    LimitQuery,
    json_answer,
    list_body,
    page_of,
    tagged,
)
from mg_tui.core.serve_spec import ServeSpec, split_served
from mg_tui.gate import Caller
from mg_tui.gate.tokens import includes
from mg_tui.preflight.serving import first_free_port, launch_server, listener_of
from mg_tui.runs.servers import ServerFolder, server_record
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunSummary, summarize_run

router = APIRouter(prefix=f"{NATIVE}/models", tags=["models"])

_RUNNING_AT_ONCE: Final = 4  # each keeps a model in memory
_PLACE_FIELDS: Final = ("host", "behind_proxy", "allow_host", "tls_cert", "tls_key")


@router.post(
    "/serve",
    status_code=201,
    summary="Serve models behind OpenAI's API, in a process that outlives this server",
    responses=docs.answers("server", 400, 401, 403, 409, 410, 422, 429, status=201),
    openapi_extra=docs.serve_body(),
)
def serve(
    request: Request,
    garden: GardenOf,
    caller: CallerOf,
    body: Annotated[dict[str, Any], Body()],
    idempotency_key: KeyHeader = None,
) -> Response:
    gpus, spec = _read_order(garden, caller, body)

    def create(run_id: str) -> ServerFolder:
        if (running := work.count_running(garden, ServerFolder)) >= _RUNNING_AT_ONCE:
            raise ApiError(429, "too-many-servers", f"{running} servers are running already; stop one first.")
        return launch_server(spec, garden.settings, cwd=garden.cwd, gpus=gpus, run_id=run_id, bounds=garden.bounds)

    folder = work.create_once(request, garden, caller, body, idempotency_key, spec.name, ServerFolder, create, gpus)
    server = summarize_run(folder)
    answer = tagged(request, server, lambda: _shown(garden, server, time.time()), status=201)
    answer.headers["Location"] = _path_of(folder.id)
    return answer


@router.get("/servers", summary="Servers, newest first", responses=docs.answers("server_list", 401, 422))
def list_servers(
    garden: GardenOf,
    after: AfterQuery = None,
    limit: LimitQuery = 20,
    state: Annotated[RunState | None, Query(description="Only servers in this state.")] = None,
) -> Response:
    if state is None:
        page, more = garden.page(ServerFolder, after, limit)
    else:
        found = [server for server in garden.list(ServerFolder) if server.state is state]
        page, more = page_of(found, after, limit, lambda server: server.id)
    now = time.time()
    return json_answer(list_body((_shown(garden, server, now) for server in page), has_more=more))


@router.get(
    "/servers/{server_id}",
    summary="Address, requests, latency, and whether its models answer as trained",
    responses=docs.answers("server", 401, 404),
)
def show(garden: GardenOf, server_id: str) -> Response:
    server = summarize_run(garden.find(ServerFolder, server_id))
    return json_answer(_shown(garden, server, time.time()))


@router.get(
    "/servers/{server_id}/logs",
    summary="The end of its log, and of that of the program that answers",
    responses=docs.answers("logs", 401, 404, 422),
)
def logs(garden: GardenOf, server_id: str, lines: work.LinesQuery = 200) -> Response:
    return work.logs(garden.paths, sorted(garden.find(ServerFolder, server_id).path.glob("*.log")), lines)


@router.post(
    "/servers/{server_id}/stop",
    status_code=202,
    summary="Stop; requests under way are cut off",
    responses=docs.answers("request", 401, 404, 409, status=202),
)
def stop(garden: GardenOf, caller: CallerOf, server_id: str) -> Response:
    return work.stop(garden, caller, garden.find(ServerFolder, server_id))


@router.delete(
    "/servers/{server_id}",
    status_code=204,
    summary="Delete the record of a server that has ended",
    responses=docs.answers(None, 401, 404, 409, status=204),
)
def delete(garden: GardenOf, server_id: str) -> Response:
    return work.delete(garden.find(ServerFolder, server_id))


def _read_order(garden: Garden, caller: Caller, body: dict[str, Any]) -> tuple[tuple[str, ...] | None, ServeSpec]:
    gpus = read_gpus(body)
    spec = work.read_spec(ServeSpec, {name: value for name, value in body.items() if name != "gpus"})
    _require_allowed(garden, caller, spec)
    if "port" not in spec.model_fields_set and listener_of(spec).is_loopback:
        spec = spec.model_copy(update={"port": first_free_port(spec.host)})
    return gpus, spec


def _require_allowed(garden: Garden, caller: Caller, spec: ServeSpec) -> None:
    """Refuse what this caller may not serve, and where. What the command line refuses, the start refuses as well.

    Raises:
        ApiError: it needs scope admin (403).
        PathForbidden: a path is outside the roots.
    """
    for name in _PLACE_FIELDS:
        usual = listener_of(spec).is_loopback if name == "host" else not getattr(spec, name)
        if not usual and not includes(caller.scope, "admin"):
            raise ApiError(403, "scope-too-small", f"{name}: others could call the server; needs scope admin.")
    for model in (*(split_served(model)[1] for model in spec.models), spec.base_model):
        if model is not None:
            garden.paths.require_model(model)
    for name in ("mmproj", "tls_cert", "tls_key"):
        if (path := getattr(spec, name)) is not None:
            garden.paths.require(path, name)
    if spec.dataset is not None and spec.dataset not in garden.settings.datasets:
        garden.paths.require(spec.dataset, "dataset")


def _shown(garden: Garden, server: RunSummary, now: float) -> dict[str, Any]:
    """A server; its texts without paths outside the roots."""
    redact, record = garden.paths.redact, server_record(server, now)
    proofs = {
        name: {key: redact(value) if isinstance(value, str) else value for key, value in proof.items()}
        for name, proof in (record["proof"] or {}).items()
    }
    running = server.state is RunState.RUNNING
    return {
        "object": "server",
        **record,
        "phase": server.view.phase if running else None,
        "models": [redact(str(model)) for model in record["models"]],
        "proof": proofs or None,
        "warnings": [redact(warning.what) for warning in server.view.warnings],
        "error": work.error_shown(garden.paths, server.view.error),
        "links": {"self": _path_of(server.id), "logs": f"{_path_of(server.id)}/logs"},
    }


def _path_of(server_id: str) -> str:
    return f"{NATIVE}/models/servers/{server_id}"
