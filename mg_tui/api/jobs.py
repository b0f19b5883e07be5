"""`/training/jobs`: list, create, show, delete, and what a job has: events, log, curves, samples, checkpoints."""

from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Header, Query, Request
from fastapi.responses import Response
from fastapi.sse import EventSourceResponse

from mg_tui.api import docs, work
from mg_tui.api.access import NATIVE
from mg_tui.api.errors import ApiError, as_conflict
from mg_tui.api.garden import CallerOf, Garden, GardenOf
from mg_tui.api.job_creation import create_job, read_order
from mg_tui.api.resources import (
    AfterQuery,
    LimitQuery,
    job_links,
    job_shown,
    json_answer,
    list_body,
    page_of,
    tagged,
)
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.remove import remove_run
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunSummary, summarize_run
from mg_tui.runs.watch import RunWatch

router = APIRouter(prefix=f"{NATIVE}/training/jobs", tags=["training"])

_CURVES: Final = (
    "loss",
    "learning_rate",
    "grad_norm",
    "device_memory",
    "host_memory",
    "tokens_per_second",
    "images_per_second",
    "data_wait",
)
KeyHeader = Annotated[str | None, Header(description="Makes the creation happen once, however often it is sent.")]


@router.get("", summary="List jobs, newest first", responses=docs.answers("job_list", 401, 422))
def list_jobs(
    garden: GardenOf,
    after: AfterQuery = None,
    limit: LimitQuery = 20,
    state: Annotated[RunState | None, Query(description="Only jobs in this state.")] = None,
    filter: Annotated[str, Query(max_length=400, description="Words, #tags, -words, as in the dashboard.")] = "",
) -> Response:
    if state is None and not filter:
        page, more = garden.page(RunFolder, after, limit)
    else:
        runs = [run for run in garden.list(RunFolder) if state is None or run.state is state]
        page, more = page_of([run for run in runs if run.matches(filter)], after, limit, lambda run: run.id)
    return garden.listed_jobs.answer(page, has_more=more)


@router.post(
    "",
    status_code=201,
    summary="Create a job",
    responses=docs.answers("job", 400, 401, 403, 409, 410, 422, status=201),
    openapi_extra=docs.job_body(),
)
def create(
    request: Request,
    garden: GardenOf,
    caller: CallerOf,
    body: Annotated[dict[str, Any], Body()],
    idempotency_key: KeyHeader = None,
) -> Response:
    order = read_order(garden, caller, body)
    folder = create_job(garden, caller, order, key=idempotency_key, path=request.url.path, body=body)
    return created(garden, request, folder)


def created(garden: Garden, request: Request, folder: RunFolder) -> Response:
    """The answer to a creation: 201, the job, and where it is."""
    run = summarize_run(folder)
    answer = tagged(request, run, lambda: job_shown(garden, run), status=201)
    answer.headers["Location"] = job_links(folder.id)["self"]
    return answer


@router.get("/{job_id}", summary="Show a job", responses=docs.answers("job", 304, 401, 404))
def show(request: Request, garden: GardenOf, job_id: str) -> Response:
    run = _summary(garden, job_id)
    return tagged(request, run, lambda: job_shown(garden, run))


@router.delete(
    "/{job_id}",
    status_code=204,
    summary="Move a job to the trash",
    responses=docs.answers(None, 401, 404, 409, status=204),
)
def delete(
    garden: GardenOf,
    job_id: str,
    permanently: Annotated[bool, Query(description="Delete it at once instead.")] = False,
) -> Response:
    folder = garden.find(RunFolder, job_id)
    with as_conflict():
        if summarize_run(folder).state is RunState.QUEUED:
            raise ApiError(409, "conflict", f"Job {job_id} is queued; stop it first.")
        remove_run(folder, permanently=permanently)
    return Response(status_code=204)


@router.get(
    "/{job_id}/events",
    summary="Follow a job's journal as server-sent events",
    responses=docs.event_stream("job_events", 204, 401, 404, 422),
)
async def events(
    garden: GardenOf,
    job_id: str,
    after: Annotated[
        int | None, Query(ge=0, le=1 << 53, description="The number of the last event that is known.")
    ] = None,
    last_event_id: Annotated[str | None, Header(pattern=r"^[0-9]{1,15}$")] = None,
) -> Response:
    folder = garden.find(RunFolder, job_id)
    known = int(last_event_id) if last_event_id is not None else after or 0
    if known:
        watch = RunWatch(folder, ends_only=64 << 10)
        watch.refresh()
        if watch.state.ended and known >= watch.view.last_number:
            return Response(status_code=204)  # nothing will come; a browser's EventSource stops at this status
    return EventSourceResponse(
        garden.feeds.follow(folder, known), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


@router.get("/{job_id}/logs", summary="The end of the worker's log", responses=docs.answers("logs", 401, 404, 422))
def logs(garden: GardenOf, job_id: str, lines: work.LinesQuery = 200) -> Response:
    return work.logs(garden.paths, [garden.find(RunFolder, job_id).log_file], lines)


@router.get("/{job_id}/metrics", summary="Curves by column", responses=docs.answers("metrics", 401, 404))
def metrics(garden: GardenOf, job_id: str) -> Response:
    view = _summary(garden, job_id).view
    series = view.series
    columns = {name: getattr(series, name) for name in _CURVES}
    evaluations = [asdict(item) for item in view.evals]
    body = {"object": "training.metrics", "stride": series.stride, "step": series.steps, "t": series.times, **columns}
    return json_answer({**body, "evaluations": evaluations})


@router.get(
    "/{job_id}/samples", summary="Answers generated while training", responses=docs.answers("samples", 401, 404)
)
def samples(garden: GardenOf, job_id: str, limit: LimitQuery = 100) -> Response:
    found = list(_summary(garden, job_id).view.samples)
    return json_answer(list_body(map(asdict, found[-limit:]), has_more=len(found) > limit))


@router.get("/{job_id}/checkpoints", summary="Checkpoints", responses=docs.answers("checkpoints", 401, 404))
def checkpoints(garden: GardenOf, job_id: str) -> Response:
    return json_answer(list_body(map(asdict, _summary(garden, job_id).view.checkpoints), has_more=False))


def _summary(garden: Garden, job_id: str) -> RunSummary:
    return summarize_run(garden.find(RunFolder, job_id))
