"""What can be done to a job: stop, checkpoint, resume, rerun, hold, release, move."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from mg_tui.api import docs
from mg_tui.api.access import NATIVE
from mg_tui.api.errors import ApiError, as_conflict, spec_problem
from mg_tui.api.garden import CallerOf, Garden, GardenOf, requester
from mg_tui.api.job_creation import JobOrder, create_job, require_allowed, split_launch_fields
from mg_tui.api.jobs import KeyHeader, created
from mg_tui.api.resources import PATIENCE, job_shown, json_answer, request_record
from mg_tui.core.errors import SpecError
from mg_tui.core.request_body import read_spec_body
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs import devices, operations, queue
from mg_tui.runs.cost import RESUMED_MAX_COST_HELP
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.store import summarize_run

router = APIRouter(prefix=f"{NATIVE}/training/jobs/{{job_id}}", tags=["training"])


class StopBody(BaseModel):
    """How to stop."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"now": False}})

    now: bool = Field(default=False, description="Exit at once, without a checkpoint.", strict=True)


class ResumeBody(BaseModel):
    """Where to resume, and on what."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"at": "best"}})

    at: str | None = Field(
        default=None, description="`best` or a checkpoint's step; later checkpoints are deleted.", max_length=20
    )
    from_start: bool = Field(default=False, description="Restart from step 0 if there is no checkpoint.", strict=True)
    gpus: str | None = Field(default=None, description="nvidia-smi indices (0,1), all, any, or cpu.", max_length=200)
    processes: int | None = Field(
        default=None, description="Training processes from now on, one a GPU.", ge=1, le=256, strict=True
    )
    queue: bool = Field(default=True, description="Wait in the queue for a free device.", strict=True)
    max_cost: float | None = Field(
        default=None, description=RESUMED_MAX_COST_HELP, gt=0, allow_inf_nan=False, strict=True
    )


class MoveBody(BaseModel):
    """A position in the queue."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"position": 1}})

    position: Annotated[int, Field(ge=1, le=1 << 30, strict=True)] | Literal["first", "last"]


@router.post(
    "/stop",
    status_code=202,
    summary="Stop after a checkpoint; a queued job leaves the queue",
    responses=docs.answers("request", 401, 404, 409, 422, status=202),
)
def stop(garden: GardenOf, caller: CallerOf, job_id: str, body: Annotated[StopBody | None, Body()] = None) -> Response:
    folder = garden.find(RunFolder, job_id)
    with as_conflict():
        result = operations.request_stop(folder, requester(caller), now=bool(body and body.now), patience=PATIENCE)
    return _requested(result)


@router.post(
    "/checkpoint",
    status_code=202,
    summary="Save a checkpoint now",
    responses=docs.answers("request", 401, 404, 409, status=202),
)
def checkpoint(garden: GardenOf, caller: CallerOf, job_id: str) -> Response:
    folder = garden.find(RunFolder, job_id)
    with as_conflict():
        result = operations.request_checkpoint(folder, requester(caller), patience=PATIENCE)
    return _requested(result)


@router.post(
    "/resume",
    status_code=202,
    summary="Resume from the newest valid checkpoint, or another",
    responses=docs.answers("job", 401, 404, 409, 422, status=202),
)
def resume(
    garden: GardenOf, caller: CallerOf, job_id: str, body: Annotated[ResumeBody | None, Body()] = None
) -> Response:
    folder = garden.find(RunFolder, job_id)
    wanted = body or ResumeBody()
    gpus = None if wanted.gpus is None else devices.parse_devices(wanted.gpus)
    if gpus is not None:
        devices.require_devices(gpus, devices.find_devices())
    with as_conflict():
        operations.resume_run(
            folder,
            requester(caller),
            gpus=gpus,
            in_queue=wanted.queue,
            from_start=wanted.from_start,
            at=wanted.at,
            processes=wanted.processes,
            max_cost=wanted.max_cost,
        )
    return _shown(garden, folder, 202)


@router.post(
    "/rerun",
    status_code=201,
    summary="Start a new job from this one's options",
    responses=docs.answers("job", 400, 401, 403, 404, 409, 410, 422, status=201),
    openapi_extra=docs.rerun_body(),
)
def rerun(
    request: Request,
    garden: GardenOf,
    caller: CallerOf,
    job_id: str,
    body: Annotated[dict[str, Any] | None, Body()] = None,
    idempotency_key: KeyHeader = None,
) -> Response:
    folder = garden.find(RunFolder, job_id)
    order = _rerun_order(garden, folder, body or {})
    require_allowed(garden, caller, order.spec)
    new = create_job(garden, caller, order, key=idempotency_key, path=request.url.path, body=body or {})
    return created(garden, request, new)


def _rerun_order(garden: Garden, folder: RunFolder, body: Mapping[str, Any]) -> JobOrder:
    launched, rest = split_launch_fields(body)
    if launched["preset"]:
        raise ApiError(422, "invalid-options", "preset: give the options themselves to rerun")
    given = read_spec_body(TrainingSpec, rest, model_type=True)
    try:
        request = operations.rerun_spec(folder, given.values, cwd=garden.cwd)
    except SpecError as error:
        raise spec_problem(error, dict(given.pointers)) from error
    return JobOrder(request.spec, given.pointers, launched["gpus"], launched["queue"], request.cwd)


@router.post("/hold", summary="Put a queued job on hold", responses=docs.answers("job", 401, 404, 409))
def hold(garden: GardenOf, job_id: str) -> Response:
    return _set_held(garden, job_id, True)


@router.post("/release", summary="Release a held job", responses=docs.answers("job", 401, 404, 409))
def release(garden: GardenOf, job_id: str) -> Response:
    return _set_held(garden, job_id, False)


@router.post("/move", summary="Change a job's queue position", responses=docs.answers("job", 401, 404, 409, 422))
def move(garden: GardenOf, job_id: str, body: MoveBody) -> Response:
    folder = garden.find(RunFolder, job_id)
    position = {"first": 1, "last": 1 << 30}.get(str(body.position)) or int(body.position)
    with as_conflict():
        queue.move_to_position(folder, position)
    return _shown(garden, folder)


def _set_held(garden: Garden, job_id: str, held: bool) -> Response:
    folder = garden.find(RunFolder, job_id)
    with as_conflict():
        queue.set_held(folder, held)
    return _shown(garden, folder)


def _shown(garden: Garden, folder: RunFolder, status: int = 200) -> Response:
    return json_answer(job_shown(garden, summarize_run(folder)), status)


def _requested(result: operations.RequestResult) -> Response:
    return json_answer({**request_record(result), "queued": result.queued}, 202)
