"""`/models/merge`, `/models/export` and `/models/jobs`: the jobs that the command line and the dashboard have, too."""

import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Request
from fastapi.responses import Response

from mg_tui.api import docs
from mg_tui.api.access import NATIVE
from mg_tui.api.errors import ApiError, as_conflict, spec_problem
from mg_tui.api.garden import CallerOf, Garden, GardenOf, requester
from mg_tui.api.jobs import KeyHeader
from mg_tui.api.resources import PATIENCE, AfterQuery, LimitQuery, json_answer, list_body, request_record, tagged
from mg_tui.core.errors import SpecError
from mg_tui.core.model_job_spec import ExportSpec, MergeSpec
from mg_tui.core.request_body import read_spec_body
from mg_tui.gate import Caller
from mg_tui.preflight.model_jobs import launch_model_job
from mg_tui.runs import launch, operations
from mg_tui.runs.folder import new_run_id
from mg_tui.runs.model_jobs import ModelJobFolder, job_record
from mg_tui.runs.remove import remove_run
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunSummary, summarize_run

router = APIRouter(prefix=f"{NATIVE}/models", tags=["models"])

_RUNNING_AT_ONCE: Final = 2  # each loads a model


@router.get("/jobs", summary="Merges and exports, newest first", responses=docs.answers("model_job_list", 401, 422))
def list_jobs(garden: GardenOf, after: AfterQuery = None, limit: LimitQuery = 20) -> Response:
    page, more = garden.page(ModelJobFolder, after, limit)
    now = time.time()
    return json_answer(list_body((_shown(garden, job, now) for job in page), has_more=more))


@router.get("/jobs/{job_id}", summary="Progress and result", responses=docs.answers("model_job", 304, 401, 404))
def show(request: Request, garden: GardenOf, job_id: str) -> Response:
    job = summarize_run(garden.find(ModelJobFolder, job_id))
    return tagged(request, job, lambda: _shown(garden, job, time.time()))


@router.post(
    "/jobs/{job_id}/stop",
    status_code=202,
    summary="Stop; what was written in part is removed",
    responses=docs.answers("request", 401, 404, 409, status=202),
)
def stop(garden: GardenOf, caller: CallerOf, job_id: str) -> Response:
    folder = garden.find(ModelJobFolder, job_id)
    with as_conflict():
        result = operations.request_stop(folder, requester(caller), patience=PATIENCE)
    return json_answer(request_record(result), 202)


@router.delete(
    "/jobs/{job_id}",
    status_code=204,
    summary="Delete the record; what was written stays",
    responses=docs.answers(None, 401, 404, 409, status=204),
)
def delete(garden: GardenOf, job_id: str) -> Response:
    with as_conflict():
        remove_run(garden.find(ModelJobFolder, job_id), permanently=True)
    return Response(status_code=204)


@router.post(
    "/merge",
    status_code=201,
    summary="Merge an adapter into its base model",
    responses=docs.answers("model_job", 400, 401, 403, 409, 410, 422, 429, status=201),
    openapi_extra=docs.model_job_body(MergeSpec, "merge"),
)
def merge(
    request: Request,
    garden: GardenOf,
    caller: CallerOf,
    body: Annotated[dict[str, Any], Body()],
    idempotency_key: KeyHeader = None,
) -> Response:
    return _start(request, garden, caller, MergeSpec, body, idempotency_key)


@router.post(
    "/export",
    status_code=201,
    summary="Export a result for other programs",
    responses=docs.answers("model_job", 400, 401, 403, 409, 410, 422, 429, status=201),
    openapi_extra=docs.model_job_body(ExportSpec, "export"),
)
def export(
    request: Request,
    garden: GardenOf,
    caller: CallerOf,
    body: Annotated[dict[str, Any], Body()],
    idempotency_key: KeyHeader = None,
) -> Response:
    return _start(request, garden, caller, ExportSpec, body, idempotency_key)


def _start(
    request: Request,
    garden: Garden,
    caller: Caller,
    kind: type[MergeSpec | ExportSpec],
    body: dict[str, Any],
    idempotency_key: str | None,
) -> Response:
    spec = _read_spec(garden, kind, body)
    claimed = garden.keys.claim(
        idempotency_key, caller=caller.name, path=request.url.path, body=body, new_id=lambda: new_run_id(spec.name)
    )
    with claimed as claim:
        folder = ModelJobFolder(garden.home / ModelJobFolder.parent / claim.resource_id)
        if not (claim.repeated and folder.journal_file.is_file()):
            _require_place(garden)
            folder = launch_model_job(
                spec, garden.settings, cwd=garden.cwd, run_id=claim.resource_id, bounds=garden.bounds
            )
        elif summarize_run(folder).state is RunState.CREATED:
            launch.start_worker(folder)
    job = summarize_run(folder)
    answer = tagged(request, job, lambda: _shown(garden, job, time.time()), status=201)
    answer.headers["Location"] = f"{NATIVE}/models/jobs/{folder.id}"
    return answer


def _read_spec(garden: Garden, kind: type[MergeSpec | ExportSpec], body: dict[str, Any]) -> MergeSpec | ExportSpec:
    given = read_spec_body(kind, body)
    try:
        spec = kind.parse(given.values)
    except SpecError as error:
        raise spec_problem(error, dict(given.pointers)) from error
    for model in (spec.model, spec.base_model):
        if model is not None:
            garden.paths.require_model(model)
    if isinstance(spec, ExportSpec) and spec.dataset is not None and spec.dataset not in garden.settings.datasets:
        garden.paths.require(spec.dataset, "dataset")
    output = garden.paths.require_output(spec.output, "output")
    return spec.model_copy(update={"output": str(output)})


def _require_place(garden: Garden) -> None:
    running = sum(job.state is RunState.RUNNING for job in garden.list(ModelJobFolder))
    if running >= _RUNNING_AT_ONCE:
        raise ApiError(429, "too-many-jobs", f"{running} merges and exports are running already; try again later.")


def _shown(garden: Garden, job: RunSummary, now: float) -> dict[str, Any]:
    """A job; what its error says without paths outside the roots."""
    record = job_record(job, now)
    error = {name: garden.paths.redact(str(text)) for name, text in record["error"].items() if name in _ERROR_FIELDS}
    links = {"self": f"{NATIVE}/models/jobs/{job.id}"}
    return {"object": "model.job", **record, "error": error or None, "links": links}


_ERROR_FIELDS: Final = ("error", "what", "why", "hint")
