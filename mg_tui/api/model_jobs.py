"""`/models/merge`, `/models/export` and `/models/jobs`: the jobs that the command line and the dashboard have, too."""

import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Request
from fastapi.responses import Response

from mg_tui.api import docs, work
from mg_tui.api.access import NATIVE
from mg_tui.api.errors import ApiError
from mg_tui.api.garden import CallerOf, Garden, GardenOf
from mg_tui.api.jobs import KeyHeader
from mg_tui.api.resources import AfterQuery, LimitQuery, json_answer, list_body, tagged
from mg_tui.core.model_job_spec import ExportSpec, MergeSpec
from mg_tui.gate import Caller
from mg_tui.preflight.model_jobs import launch_model_job
from mg_tui.runs.model_jobs import ModelJobFolder, job_record
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
    return work.stop(garden, caller, garden.find(ModelJobFolder, job_id))


@router.delete(
    "/jobs/{job_id}",
    status_code=204,
    summary="Delete the record; what was written stays",
    responses=docs.answers(None, 401, 404, 409, status=204),
)
def delete(garden: GardenOf, job_id: str) -> Response:
    return work.delete(garden.find(ModelJobFolder, job_id))


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

    def create(run_id: str) -> ModelJobFolder:
        if (running := work.count_running(garden, ModelJobFolder)) >= _RUNNING_AT_ONCE:
            raise ApiError(429, "too-many-jobs", f"{running} merges and exports are running already; try again later.")
        return launch_model_job(spec, garden.settings, cwd=garden.cwd, run_id=run_id, bounds=garden.bounds)

    folder = work.create_once(request, garden, caller, body, idempotency_key, spec.name, ModelJobFolder, create)
    job = summarize_run(folder)
    answer = tagged(request, job, lambda: _shown(garden, job, time.time()), status=201)
    answer.headers["Location"] = f"{NATIVE}/models/jobs/{folder.id}"
    return answer


def _read_spec(garden: Garden, kind: type[MergeSpec | ExportSpec], body: dict[str, Any]) -> MergeSpec | ExportSpec:
    spec = work.read_spec(kind, body)
    for model in (spec.model, spec.base_model):
        if model is not None:
            garden.paths.require_model(model)
    if isinstance(spec, ExportSpec) and spec.dataset is not None and spec.dataset not in garden.settings.datasets:
        garden.paths.require(spec.dataset, "dataset")
    output = garden.paths.require_output(spec.output, "output")
    return spec.model_copy(update={"output": str(output)})


def _shown(garden: Garden, job: RunSummary, now: float) -> dict[str, Any]:
    """A job; what its error says without paths outside the roots."""
    record = job_record(job, now)
    error = work.error_shown(garden.paths, record["error"])
    links = {"self": f"{NATIVE}/models/jobs/{job.id}"}
    return {"object": "model.job", **record, "error": error, "links": links}
