"""Runs and evaluations as the API shows them, paging, and conditional requests."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar

from fastapi import Query, Request
from fastapi.responses import JSONResponse, Response

from mg_tui.api.access import NATIVE
from mg_tui.api.garden import Garden
from mg_tui.core.events import json_safe
from mg_tui.runs.evaluations import EvaluationFolder
from mg_tui.runs.operations import RequestResult
from mg_tui.runs.queue import find_in_queue
from mg_tui.runs.run_records import evaluation_record, run_record, summary_record
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunSummary

ItemT = TypeVar("ItemT")
MAX_PAGE: Final = 200
PATIENCE: Final = 2.0  # seconds that a request waits for the worker's word
_MAX_AFTER: Final = 400

LimitQuery = Annotated[int, Query(ge=1, le=MAX_PAGE, description="The most items of a page.")]
AfterQuery = Annotated[
    str | None, Query(max_length=_MAX_AFTER, description="The last item of the page before; its id, or its number.")
]


def page_of(
    items: Sequence[ItemT], after: str | None, limit: int, id_of: Callable[[ItemT], str]
) -> tuple[list[ItemT], bool]:
    """A page of items whose ids descend, and whether there are more; `after` may be an id that is gone."""
    rest = items if after is None else [item for item in items if id_of(item) < after]
    return list(rest[:limit]), len(rest) > limit


def list_body(data: Iterable[Any], *, has_more: bool) -> dict[str, Any]:
    """A page as the API answers it."""
    return {"object": "list", "data": list(data), "has_more": has_more}


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value as JSON; NaN and infinities as text, as in the journal."""
    return Response(encode_json(value), status, headers, media_type=JSONResponse.media_type)


def encode_json(value: Any) -> bytes:
    """A value as the bytes of `json_answer`."""
    text = json.dumps(json_safe(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)
    return text.encode("utf-8", "backslashreplace")


def request_record(result: RequestResult) -> dict[str, Any]:
    """What was asked of a run or other work, and whether its worker has seen it."""
    return {"object": "request", "id": result.folder.id, "request": result.request, "seen": result.acknowledged}


def job_listed(garden: Garden, run: RunSummary, now: float) -> dict[str, Any]:
    """A job in a list."""
    return {"object": "training.job", **run.as_dict(now, garden.settings.cost), "links": job_links(run.id)}


def job_shown(garden: Garden, run: RunSummary) -> dict[str, Any]:
    """Everything about a job except its curves."""
    now = time.time()
    queued = find_in_queue(run.folder) if run.state is RunState.QUEUED else None
    return {
        "object": "training.job",
        **run_record(run, now, garden.settings.cost),
        "queue": None if queued is None else queued[1].as_dict(queued[0]),
        "links": job_links(run.id),
    }


def job_links(job_id: str) -> dict[str, str]:
    """Where a job and its parts are. Paths only: no address is made from what a request says."""
    path = f"{NATIVE}/training/jobs/{job_id}"
    parts = ("events", "logs", "metrics", "samples", "checkpoints")
    return {"self": path, **{part: f"{path}/{part}" for part in parts}}


def evaluation_listed(run: RunSummary, now: float) -> dict[str, Any]:
    """An evaluation in a list."""
    return {"object": "evaluation", **summary_record(run, now), "links": _evaluation_links(run.id)}


def evaluation_shown(run: RunSummary) -> dict[str, Any]:
    """Everything about an evaluation except its rows."""
    return {"object": "evaluation", **evaluation_record(run, time.time()), "links": _evaluation_links(run.id)}


def tagged(request: Request, run: RunSummary, make: Callable[[], Mapping[str, Any]], status: int = 200) -> Response:
    """A run with an ETag that changes when its journal, its name, note or tags, or its state do; or 304."""
    etag = etag_of(run)
    given = request.headers.get("if-none-match", "")
    if status == 200 and etag in {part.strip().removeprefix("W/") for part in given.split(",")}:
        return Response(status_code=304, headers={"ETag": etag})
    return json_answer(make(), status, {"ETag": etag, "Cache-Control": "private, no-cache"})


def etag_of(run: RunSummary) -> str:
    """The ETag of a run."""
    file = run.folder.annotations_file
    try:
        noted = file.stat().st_mtime_ns
    except OSError:
        noted = 0
    return f'"{run.view.last_number}-{run.state.value}-{noted:x}"'


def _evaluation_links(evaluation_id: str) -> dict[str, str]:
    path = f"{NATIVE}/{EvaluationFolder.parent}/{evaluation_id}"
    return {"self": path, "rows": f"{path}/rows", "logs": f"{path}/logs"}
