"""`/evaluations`: list, create, show, rows, stop, resume, delete."""

import time
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request
from fastapi.responses import Response

from mg_tui.api import docs, work
from mg_tui.api.access import NATIVE
from mg_tui.api.errors import ApiError, as_conflict
from mg_tui.api.garden import CallerOf, Garden, GardenOf
from mg_tui.api.job_creation import read_gpus
from mg_tui.api.jobs import KeyHeader
from mg_tui.api.resources import (
    AfterQuery,
    LimitQuery,
    evaluation_listed,
    evaluation_shown,
    json_answer,
    list_body,
    tagged,
)
from mg_tui.core.evaluation_spec import BASE, EvaluationSpec
from mg_tui.core.options import options_of
from mg_tui.gate import Caller
from mg_tui.gate.tokens import includes
from mg_tui.runs.evaluations import EvaluationFolder, resume_evaluation
from mg_tui.runs.store import summarize_run

router = APIRouter(prefix=f"{NATIVE}/evaluations", tags=["evaluations"])


@router.get("", summary="List evaluations, newest first", responses=docs.answers("evaluation_list", 401, 422))
def list_evaluations(garden: GardenOf, after: AfterQuery = None, limit: LimitQuery = 20) -> Response:
    page, more = garden.page(EvaluationFolder, after, limit)
    now = time.time()
    return json_answer(list_body((evaluation_listed(run, now) for run in page), has_more=more))


@router.post(
    "",
    status_code=201,
    summary="Start an evaluation",
    responses=docs.answers("evaluation", 400, 401, 403, 409, 410, 422, status=201),
    openapi_extra=docs.evaluation_body(),
)
def create(
    request: Request,
    garden: GardenOf,
    caller: CallerOf,
    body: Annotated[dict[str, Any], Body()],
    idempotency_key: KeyHeader = None,
) -> Response:
    from mg_tui.preflight.evaluation import launch_evaluation

    gpus, spec = _read_order(garden, caller, body)

    def launch(run_id: str) -> EvaluationFolder:
        return launch_evaluation(spec, garden.settings, cwd=garden.cwd, gpus=gpus, run_id=run_id, bounds=garden.bounds)

    folder = work.create_once(request, garden, caller, body, idempotency_key, spec.name, EvaluationFolder, launch, gpus)
    run = summarize_run(folder)
    answer = tagged(request, run, lambda: evaluation_shown(run), status=201)
    answer.headers["Location"] = f"{request.url.path}/{folder.id}"
    return answer


def _read_order(garden: Garden, caller: Caller, body: dict[str, Any]) -> tuple[tuple[str, ...] | None, EvaluationSpec]:
    requested = read_gpus(body)
    spec = work.read_spec(EvaluationSpec, {name: value for name, value in body.items() if name != "gpus"})
    if spec.endpoint is not None and not includes(caller.scope, "admin"):
        raise ApiError(403, "scope-too-small", "endpoint: sends rows to another server; needs scope admin.")
    for option in options_of(EvaluationSpec):
        value = getattr(spec, option.name)
        if option.kind == "path" and value is not None and value not in garden.settings.datasets:
            garden.paths.require_option(value, option.name)
    if spec.endpoint is None:
        for model in (spec.model, spec.compare, spec.base_model):
            if model is not None and model != BASE:
                garden.paths.require_model(model)
    return requested, spec


@router.get("/{evaluation_id}", summary="Show an evaluation", responses=docs.answers("evaluation", 304, 401, 404))
def show(request: Request, garden: GardenOf, evaluation_id: str) -> Response:
    run = summarize_run(garden.find(EvaluationFolder, evaluation_id))
    return tagged(request, run, lambda: evaluation_shown(run))


@router.get(
    "/{evaluation_id}/rows",
    summary="Answered rows with their scores",
    responses=docs.answers("evaluation_rows", 401, 404, 422),
)
def rows(
    garden: GardenOf,
    evaluation_id: str,
    after: Annotated[int, Query(ge=0, le=1 << 53, description="How many rows to pass over.")] = 0,
    limit: LimitQuery = 50,
) -> Response:
    """In the dataset's order once the evaluation has finished; in the order of the answers before."""
    from mg_tui.metrics.results.files import ANSWERS, ROWS
    from mg_tui.metrics.results.index import RowIndex, read_summary

    folder = garden.find(EvaluationFolder, evaluation_id).results_dir
    summary = read_summary(folder)
    names = [metric["name"] for metric in summary["metrics"]] if summary else []
    index = RowIndex(folder / (ROWS if summary else ANSWERS), names)
    while index.refresh() and len(index) <= after + limit:
        pass
    places = range(after, min(after + limit, len(index)))
    found = [index.read(place) for place in places]
    data = [{**asdict(item.row), "scores": item.scores} for item in found]
    return json_answer(list_body(data, has_more=len(index) > after + limit))


@router.get(
    "/{evaluation_id}/logs", summary="The end of the worker's log", responses=docs.answers("logs", 401, 404, 422)
)
def logs(garden: GardenOf, evaluation_id: str, lines: work.LinesQuery = 200) -> Response:
    return work.logs(garden.paths, [garden.find(EvaluationFolder, evaluation_id).log_file], lines)


@router.post(
    "/{evaluation_id}/stop",
    status_code=202,
    summary="Stop; answers are kept",
    responses=docs.answers("request", 401, 404, 409, status=202),
)
def stop(garden: GardenOf, caller: CallerOf, evaluation_id: str) -> Response:
    return work.stop(garden, caller, garden.find(EvaluationFolder, evaluation_id))


@router.post(
    "/{evaluation_id}/resume",
    status_code=202,
    summary="Resume; rows with an answer are not answered again",
    responses=docs.answers("evaluation", 401, 404, 409, status=202),
)
def resume(garden: GardenOf, evaluation_id: str) -> Response:
    folder = garden.find(EvaluationFolder, evaluation_id)
    with as_conflict():
        resume_evaluation(folder)
    return json_answer(evaluation_shown(summarize_run(folder)), 202)


@router.delete(
    "/{evaluation_id}",
    status_code=204,
    summary="Delete an evaluation with its answers",
    responses=docs.answers(None, 401, 404, 409, status=204),
)
def delete(garden: GardenOf, evaluation_id: str) -> Response:
    return work.delete(garden.find(EvaluationFolder, evaluation_id))
