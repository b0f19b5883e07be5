"""`/training/changes` and `/training/files`: what a front end on another machine copies of run folders.

Journals are sent as they are, from any byte on, so that a copy is equal to the original; of a log, lines without paths
outside the roots.
"""

import gzip
import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from fastapi.sse import EventSourceResponse

from mg_tui.api import docs
from mg_tui.api.access import NATIVE
from mg_tui.api.errors import ApiError
from mg_tui.api.garden import Garden, GardenOf
from mg_tui.api.job_changes import SMALL_FILES
from mg_tui.api.resources import list_body
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.worker_log import strip_terminal_codes

router = APIRouter(prefix=f"{NATIVE}/training", tags=["training"])

_MAX_JOBS: Final = 50
_JOURNAL_BYTES: Final = 1 << 20  # of one job in one answer
_LOG_BYTES: Final = 256 << 10
_ANSWER_BYTES: Final = 6 << 20  # after which further jobs wait for the next request
_SMALL_FILE_BYTES: Final = 1 << 20
_GZIP_FROM: Final = 1 << 10
_GZIP_LEVEL: Final = 3
_NOTHING: Final = "-"
_END: Final = "end"
_ALL: Final = "all"
_JOB_QUERY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199},[0-9]{1,15},(-|end|[0-9]{1,15}),(-|all)")


@router.get(
    "/changes",
    summary="Follow the list of jobs as server-sent events",
    include_in_schema=False,  # between two programs of one version, and it has no end: no client is generated for it
)
async def changes(garden: GardenOf) -> Response:
    """First the garden and every job; then jobs that changed or are gone, and at least one event every second."""
    return EventSourceResponse(
        garden.job_changes.follow(), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


@router.get(
    "/files",
    summary="New bytes of the journals and logs of jobs, and their small files",
    responses=docs.answers("job_files", 401, 422),
)
def files(
    request: Request,
    garden: GardenOf,
    job: Annotated[
        list[str],
        Query(
            max_length=_MAX_JOBS,
            description="ID,JOURNAL,LOG,FILES: bytes of its journal that are known; of its log, a number, `end` for "
            "the end of it, or `-` for nothing; `all` for its small files, or `-`.",
        ),
    ],
) -> Response:
    for item in job:
        if _JOB_QUERY.fullmatch(item) is None:
            raise ApiError(422, "invalid-request", "job: give ID,JOURNAL,LOG,FILES")
    records: list[dict[str, Any]] = []
    sent, has_more = 0, False
    for item in job:
        if sent >= _ANSWER_BYTES:
            has_more = True
            break
        id, journal, log, small = item.split(",")
        record = _job_record(garden, id, int(journal), log, files=small == _ALL)
        if record is not None:
            sent += len(record["journal"]["text"]) + len(record["log"]["text"] if record["log"] else "")
            records.append(record)
    return _compressed(request, list_body(records, has_more=has_more))


def _job_record(garden: Garden, id: str, journal: int, log: str, *, files: bool) -> dict[str, Any] | None:
    """What is new of a job; None when there is no such job any more."""
    try:
        folder = garden.find(RunFolder, id)
    except ApiError:
        return None
    text = read_bytes(folder.journal_file, journal, _JOURNAL_BYTES)
    return {
        "id": id,
        "journal": {"at": journal, "text": text},
        "log": None if log == _NOTHING else _log_part(garden, folder, log),
        "files": {name: read_bytes(folder.path / name, 0, _SMALL_FILE_BYTES) or None for name in SMALL_FILES}
        if files
        else None,
    }


def read_bytes(path: Path, start: int, limit: int) -> str:
    """Bytes of a file as text that gives the same bytes with `surrogateescape`; empty when it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        return os.pread(fd, limit, start).decode("utf-8", "surrogateescape")
    except OSError:
        return ""
    finally:
        os.close(fd)


def _log_part(garden: Garden, folder: RunFolder, at: str) -> dict[str, Any]:
    """Lines of the log from a byte on, or the end of it, and the byte to continue from."""
    try:
        size = folder.log_file.stat().st_size
    except OSError:
        size = 0
    start = max(size - _LOG_BYTES, 0) if at == _END else int(at)
    if start > size:  # begun anew
        start = 0
    data = read_bytes(folder.log_file, start, _LOG_BYTES).encode("utf-8", "surrogateescape")
    if at == _END and start:
        skipped = data.find(b"\n") + 1
        start, data = start + skipped, data[skipped:]
    whole = data.rfind(b"\n") + 1
    if not whole and len(data) == _LOG_BYTES:  # one endless line, e.g. of a progress bar
        whole = len(data)
    lines = data[:whole].decode("utf-8", "replace").split("\n")
    text = "\n".join(garden.paths.redact(strip_terminal_codes(line)) for line in lines)
    return {"at": start, "next": start + whole, "text": text}


def _compressed(request: Request, value: Any) -> Response:
    """As JSON; compressed for who reads that, over a line that may be slow."""
    body = json.dumps(value, separators=(",", ":")).encode()  # lone surrogates as escapes
    headers = {"Vary": "Accept-Encoding"}
    if len(body) >= _GZIP_FROM and "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, _GZIP_LEVEL)
        headers["Content-Encoding"] = "gzip"
    return Response(body, headers=headers, media_type=JSONResponse.media_type)
