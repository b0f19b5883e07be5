"""`/v1/fine_tuning/jobs`: OpenAI's fine-tuning API over the same runs, so that its clients train a model here.

A job's id is `ftjob-` and the run's. Hyperparameters are those of OpenAI (`n_epochs`, `batch_size`,
`learning_rate_multiplier`, which multiplies the learning rate of garden.toml or the default one); every option of a run
may stand beside `model`, as `extra_body` of OpenAI's client sends it. `batch_size` is the number of examples of a step.
"""

import math
from collections import deque
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Query, Request
from fastapi.responses import Response

from mg_tui.api import docs
from mg_tui.api.access import OPENAI
from mg_tui.api.errors import ApiError, as_conflict, not_found
from mg_tui.api.garden import CallerOf, Garden, GardenOf, requester
from mg_tui.api.job_creation import create_job, read_order
from mg_tui.api.jobs import KeyHeader
from mg_tui.api.openai_records import EVENT_PREFIX, PAUSED_BY, checkpoint_record, event_record, is_shown, job_record
from mg_tui.api.resources import PATIENCE, LimitQuery, json_answer, list_body
from mg_tui.api.uploads import UploadStore
from mg_tui.core.events import Event
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs import operations
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader
from mg_tui.runs.queue import set_held
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunSummary, summarize_run

router = APIRouter(prefix=f"{OPENAI}/fine_tuning/jobs", tags=["openai"])

PREFIX: Final = "ftjob-"
_OWN_FIELDS: Final = (
    *("model", "training_file", "validation_file", "hyperparameters", "method", "suffix", "seed", "integrations"),
    "metadata",
)
AfterId = Annotated[str | None, Query(max_length=400)]


@router.get("", summary="List jobs, newest first", responses=docs.answers("fine_tuning_list", 401, openai=True))
def list_jobs(garden: GardenOf, after: AfterId = None, limit: LimitQuery = 20) -> Response:
    page, more = garden.page(RunFolder, after and after.removeprefix(PREFIX), limit)
    return json_answer(list_body((job_record(garden, run) for run in page), has_more=more))


@router.post(
    "",
    summary="Create a job",
    responses=docs.answers("fine_tuning_job", 400, 401, 403, 404, 409, 410, 422, openai=True),
    openapi_extra=docs.fine_tuning_body(),
)
def create(
    request: Request,
    garden: GardenOf,
    caller: CallerOf,
    body: Annotated[dict[str, Any], Body()],
    idempotency_key: KeyHeader = None,
) -> Response:
    order = read_order(garden, caller, native_body(garden, body))
    folder = create_job(garden, caller, order, key=idempotency_key, path=request.url.path, body=body)
    return json_answer(job_record(garden, summarize_run(folder)))


@router.get("/{job_id}", summary="Show a job", responses=docs.answers("fine_tuning_job", 401, 404, openai=True))
def retrieve(garden: GardenOf, job_id: str) -> Response:
    return json_answer(job_record(garden, _summary(garden, job_id)))


@router.get(
    "/{job_id}/events",
    summary="Events of a job, newest first",
    responses=docs.answers("fine_tuning_events", 401, 404, openai=True),
)
def events(garden: GardenOf, job_id: str, after: AfterId = None, limit: LimitQuery = 20) -> Response:
    reader = JournalReader(_folder(garden, job_id).journal_file)
    until = _event_number(after)
    newest: deque[Event] = deque(maxlen=limit + 1)  # a journal may have a million events
    for events in reader.chunks():
        newest.extend(event for event in events if event.n < until and is_shown(event))
        if events and events[-1].n >= until:
            break
    records = [event_record(garden, event) for event in reversed(newest)]
    return json_answer(list_body(records[:limit], has_more=len(records) > limit))


@router.get(
    "/{job_id}/checkpoints",
    summary="Checkpoints of a job, newest first",
    responses=docs.answers("fine_tuning_checkpoints", 401, 404, openai=True),
)
def checkpoints(garden: GardenOf, job_id: str, after: AfterId = None, limit: LimitQuery = 10) -> Response:
    run = _summary(garden, job_id)
    return _page([checkpoint_record(run, saved) for saved in reversed(run.view.checkpoints)], after, limit)


@router.post(
    "/{job_id}/cancel", summary="Stop a job", responses=docs.answers("fine_tuning_job", 401, 404, 409, openai=True)
)
def cancel(garden: GardenOf, caller: CallerOf, job_id: str) -> Response:
    folder = _folder(garden, job_id)
    with as_conflict():
        operations.request_stop(folder, requester(caller), patience=PATIENCE)
    return json_answer(job_record(garden, summarize_run(folder)))


@router.post(
    "/{job_id}/pause",
    summary="Hold a queued job; stop a running one after a checkpoint, to be resumed",
    responses=docs.answers("fine_tuning_job", 401, 404, 409, openai=True),
)
def pause(garden: GardenOf, caller: CallerOf, job_id: str) -> Response:
    folder = _folder(garden, job_id)
    with as_conflict():
        if summarize_run(folder).state is RunState.QUEUED:
            set_held(folder, True)
        else:
            operations.request_stop(folder, requester(caller, PAUSED_BY), patience=PATIENCE)
    return json_answer(job_record(garden, summarize_run(folder)))


@router.post(
    "/{job_id}/resume",
    summary="Release a held job; resume a stopped one",
    responses=docs.answers("fine_tuning_job", 401, 404, 409, openai=True),
)
def resume(garden: GardenOf, caller: CallerOf, job_id: str) -> Response:
    folder = _folder(garden, job_id)
    with as_conflict():
        if summarize_run(folder).state is RunState.QUEUED:
            set_held(folder, False)
        else:
            operations.resume_run(folder, requester(caller), in_queue=True, from_start=True)
    return json_answer(job_record(garden, summarize_run(folder)))


def native_body(garden: Garden, body: Mapping[str, Any]) -> dict[str, Any]:
    """A job as the native API creates it.

    Raises:
        ApiError: a value that this API does not know, or a file that does not exist.
    """
    for name in ("integrations", "metadata"):
        if body.get(name):
            raise ApiError(400, "not-supported", f"{name}: not supported here")
    values = {name: value for name, value in body.items() if name not in _OWN_FIELDS}
    store = UploadStore(garden.home)
    values["base_model"] = body.get("model")
    values["dataset"] = str(store.path(store.find(_text(body, "training_file"))))
    if body.get("validation_file") is not None:
        values["eval_dataset"] = str(store.path(store.find(_text(body, "validation_file"))))
    if body.get("suffix") is not None:
        values["name"] = body["suffix"]
    if body.get("seed") is not None:
        values["seed"] = body["seed"]
    return {**_hyperparameters(garden, body), **values}


def _hyperparameters(garden: Garden, body: Mapping[str, Any]) -> dict[str, Any]:
    method = body.get("method")
    given = body.get("hyperparameters")
    if method is not None:
        if not isinstance(method, Mapping) or method.get("type") != "supervised":
            raise ApiError(400, "not-supported", "method: only supervised is supported here")
        supervised = method.get("supervised")
        given = supervised.get("hyperparameters") if isinstance(supervised, Mapping) else given
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ApiError(422, "invalid-options", "hyperparameters: give an object")
    wanted = {name: value for name, value in given.items() if value not in ("auto", None)}
    values: dict[str, Any] = {}
    if "n_epochs" in wanted:
        values["epochs"] = wanted.pop("n_epochs")
    if "batch_size" in wanted:
        values |= {"gradient_accumulation_steps": wanted.pop("batch_size"), "batch_size": 1}
    if "learning_rate_multiplier" in wanted:
        values["learning_rate"] = _multiplied(garden, wanted.pop("learning_rate_multiplier"))
    if wanted:
        raise ApiError(422, "invalid-options", f"hyperparameters: {next(iter(wanted))} is not known")
    return values


def _multiplied(garden: Garden, multiplier: Any) -> float:
    usual = garden.settings.train.get("learning_rate", TrainingSpec.model_fields["learning_rate"].default)
    try:
        product = float(multiplier) * float(usual)
    except (TypeError, ValueError, OverflowError):
        product = math.nan
    if not math.isfinite(product) or product <= 0:
        raise ApiError(422, "invalid-options", "learning_rate_multiplier: give a number greater than 0")
    return product


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise ApiError(400, "missing-option", f"{name}: give the id of a file")
    return value


def _folder(garden: Garden, job_id: str) -> RunFolder:
    if not job_id.startswith(PREFIX):
        raise not_found("job", job_id)
    return garden.find(RunFolder, job_id.removeprefix(PREFIX))


def _summary(garden: Garden, job_id: str) -> RunSummary:
    return summarize_run(_folder(garden, job_id))


def _event_number(after: str | None) -> float:
    """The number of the event before which a page ends; of none, or of what is no event's id, infinity."""
    number = (after or "").removeprefix(EVENT_PREFIX)
    return int(number) if number.isascii() and number.isdigit() and len(number) < 16 else math.inf


def _page(found: list[dict[str, Any]], after: str | None, limit: int) -> Response:
    ids = [item["id"] for item in found]
    rest = found[ids.index(after) + 1 :] if after in ids else found
    return json_answer(list_body(rest[:limit], has_more=len(rest) > limit))
