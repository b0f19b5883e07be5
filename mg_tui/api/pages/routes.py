"""The addresses of the pages: the list of runs, a run, their changes as server-sent events, and the form to sign in."""

import time
from typing import Annotated, Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.sse import EventSourceResponse

from mg_tui.api.errors import ApiError
from mg_tui.api.garden import GardenOf
from mg_tui.api.pages.changes import mark_of, mark_of_all
from mg_tui.api.pages.content import counts_of, run_line, run_page
from mg_tui.api.pages.rendering import page
from mg_tui.api.resources import AfterQuery, page_of
from mg_tui.core.text import one_line
from mg_tui.gate import SIGN_IN_KEY, SIGN_IN_PATH, SIGN_OUT_KEY, Refusal
from mg_tui.runs.folder import RunFolder

router = APIRouter(include_in_schema=False)

_PAGE_RUNS: Final = 50
_LIVE_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
MarkQuery = Annotated[str, Query(max_length=16, description="Of what the page shows.")]


@router.get("/")
def runs(garden: GardenOf, after: AfterQuery = None, filter: Annotated[str, Query(max_length=400)] = "") -> Response:
    found = garden.list(RunFolder)
    chosen = [run for run in found if run.matches(filter)] if filter else found
    shown, more = page_of(chosen, after, _PAGE_RUNS, lambda run: run.id)
    now = time.time()
    return page(
        "runs.html",
        title="Runs",
        live=f"/live?mark={mark_of_all(found)}",
        lines=[run_line(run, now) for run in shown],
        counts=counts_of(found),
        filter=one_line(filter),
        found=len(chosen),
        total=len(found),
        first=after is None,
        older=shown[-1].id if more else None,
    )


@router.get("/live")
async def live(garden: GardenOf, mark: MarkQuery = "") -> Response:
    return EventSourceResponse(garden.changes.follow(None, mark), headers=_LIVE_HEADERS)


@router.get("/runs/{job_id}")
def run(garden: GardenOf, job_id: str) -> Response:
    try:
        folder = garden.find(RunFolder, job_id)
    except ApiError:
        return page("message.html", 404, title="No such run", live="", text=f"There is no run {job_id}.")
    with garden.followed.summary(folder) as summary:
        content, mark = run_page(summary, garden.paths), mark_of(summary)
    return page("run.html", title=content.line.title, live=f"/runs/{job_id}/live?mark={mark}", run=content)


@router.get("/runs/{job_id}/live")
async def run_live(garden: GardenOf, job_id: str, mark: MarkQuery = "") -> Response:
    garden.find(RunFolder, job_id)
    return EventSourceResponse(garden.changes.follow(job_id, mark), headers=_LIVE_HEADERS)


@router.get(SIGN_IN_PATH)
async def sign_in_form() -> Response:
    return page("login.html", title="Sign in", live="", problem="")


@router.post(SIGN_IN_PATH)
async def sign_in(request: Request) -> Response:
    try:
        given = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=4)
        cookie = request.scope[SIGN_IN_KEY](given.get("token", [""])[0].strip())
    except ValueError:
        return page("login.html", 400, title="Sign in", live="", problem="This is not the form.")
    except Refusal as refusal:
        return page("login.html", refusal.status, title="Sign in", live="", problem=refusal.detail)
    return RedirectResponse("/", 303, {"Set-Cookie": cookie})


@router.post("/logout")
async def sign_out(request: Request) -> Response:
    return RedirectResponse(SIGN_IN_PATH, 303, {"Set-Cookie": request.scope[SIGN_OUT_KEY]()})
