"""`/v1/files`: OpenAI's files, for its fine-tuning API."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, UploadFile
from fastapi.responses import FileResponse, Response

from mg_tui.api import docs
from mg_tui.api.access import MAX_UPLOAD, OPENAI
from mg_tui.api.errors import ApiError
from mg_tui.api.garden import Garden, GardenOf
from mg_tui.api.resources import LimitQuery, json_answer, list_body
from mg_tui.api.uploads import UploadedFile, UploadStore
from mg_tui.core.settings import SETTINGS_BY_ID
from mg_tui.runs.folder import RunFolder

router = APIRouter(prefix=f"{OPENAI}/files", tags=["openai"])


@router.get("", summary="List files, newest first", responses=docs.answers("file_list", 401, openai=True))
def list_files(
    garden: GardenOf,
    after: Annotated[str | None, Query(max_length=100)] = None,
    limit: LimitQuery = 100,
    purpose: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    found = UploadStore(garden.home).list() if purpose in (None, "fine-tune") else []
    ids = [file.id for file in found]
    rest = found[ids.index(after) + 1 :] if after in ids else found
    return json_answer(list_body(map(file_record, rest[:limit]), has_more=len(rest) > limit))


@router.post("", summary="Upload a dataset", responses=docs.answers("file", 400, 401, 422, openai=True))
def upload(garden: GardenOf, file: UploadFile, purpose: Annotated[str, Form(max_length=100)]) -> Response:
    if purpose != "fine-tune":
        raise ApiError(400, "wrong-purpose", "purpose: give fine-tune")
    room = float(garden.settings.value(SETTINGS_BY_ID["server.uploads_gib"])) * 2**30
    record = UploadStore(garden.home).save(file.file, file.filename or "", max_bytes=MAX_UPLOAD, room=room)
    return json_answer(file_record(record))


@router.get("/{file_id}", summary="Show a file", responses=docs.answers("file", 401, 404, openai=True))
def show(garden: GardenOf, file_id: str) -> Response:
    return json_answer(file_record(UploadStore(garden.home).find(file_id)))


@router.get("/{file_id}/content", summary="A file's content", responses=docs.file_answer(206, 401, 404, 416))
def content(garden: GardenOf, file_id: str) -> Response:
    store = UploadStore(garden.home)
    return FileResponse(store.path(store.find(file_id)), media_type="application/octet-stream")


@router.delete(
    "/{file_id}", summary="Delete a file", responses=docs.answers("file_deleted", 401, 404, 409, openai=True)
)
def delete(garden: GardenOf, file_id: str) -> Response:
    store = UploadStore(garden.home)
    file = store.find(file_id)
    if _is_used(garden, str(store.path(file))):
        raise ApiError(409, "file-in-use", f"A job that has not ended uses {file_id}.")
    store.delete(file)
    return json_answer({"id": file_id, "object": "file", "deleted": True})


def file_record(file: UploadedFile) -> dict[str, Any]:
    """A file as OpenAI's API shows it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_at,
        "filename": file.filename,
        "purpose": "fine-tune",
        "status": "processed",
    }


def _is_used(garden: Garden, path: str) -> bool:
    return any(
        path in (run.spec.get("dataset"), run.spec.get("eval_dataset"))
        for run in garden.list(RunFolder)
        if not run.state.ended
    )
