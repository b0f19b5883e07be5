"""What keeps a list of jobs in order: names, notes and tags, the trash, and single checkpoints."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from mg_tui.api import docs
from mg_tui.api.access import NATIVE
from mg_tui.api.errors import ApiError, as_conflict
from mg_tui.api.garden import CallerOf, GardenOf, requester
from mg_tui.api.resources import job_shown, json_answer, list_body
from mg_tui.runs import annotations
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.remove import remove_checkpoint
from mg_tui.runs.store import summarize_run
from mg_tui.runs.trash import list_trash, restore_run

router = APIRouter(prefix=f"{NATIVE}/training", tags=["training"])


class AnnotationBody(BaseModel):
    """What to write on a job; what is left out stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"note": "the good one", "tags": ["best"]}})

    name: str | None = Field(default=None, description="Another name; empty for that of its start.", max_length=400)
    note: str | None = Field(default=None, description="A note; empty for none.", max_length=10_000)
    tags: list[str] | None = Field(default=None, description="Exactly these tags.", max_length=100)


@router.post(
    "/jobs/{job_id}/annotate",
    summary="Name, note and tags of a job",
    responses=docs.answers("job", 401, 404, 422),
)
def annotate(garden: GardenOf, job_id: str, body: Annotated[AnnotationBody, Body()]) -> Response:
    folder = garden.find(RunFolder, job_id)
    if body.name is not None:
        annotations.rename(folder, body.name)
    if body.note is not None:
        annotations.set_note(folder, body.note)
    if body.tags is not None:
        annotations.set_tags(folder, body.tags)
    return json_answer(job_shown(garden, summarize_run(folder)))


@router.delete(
    "/jobs/{job_id}/checkpoints/{step}",
    status_code=204,
    summary="Delete a checkpoint for good",
    responses=docs.answers(None, 401, 404, 409, 422, status=204),
)
def delete_checkpoint(
    garden: GardenOf, caller: CallerOf, job_id: str, step: Annotated[int, Path(ge=0, le=1 << 53)]
) -> Response:
    folder = garden.find(RunFolder, job_id)
    with as_conflict():
        remove_checkpoint(folder, step, requester(caller))
    return Response(status_code=204)


@router.get("/trash", summary="Removed jobs, last removed first", responses=docs.answers("trash", 401))
def trash(garden: GardenOf) -> Response:
    listed: list[dict[str, Any]] = [
        {"object": "removed_job", "id": run.id, "path": str(run.path), "removed_at": run.removed_at}
        for run in list_trash(garden.home)
    ]
    return json_answer(list_body(listed, has_more=False))


@router.post(
    "/trash/{job_id}/restore",
    summary="Bring a removed job back",
    responses=docs.answers("job", 401, 404, 409),
)
def restore(garden: GardenOf, job_id: str) -> Response:
    removed = next((run for run in list_trash(garden.home) if run.id == job_id), None)
    if removed is None:
        raise ApiError(404, "job-not-found", f"There is no removed job {job_id!r}.")
    with as_conflict():
        folder = restore_run(garden.home, removed)
    return json_answer(job_shown(garden, summarize_run(folder)))
