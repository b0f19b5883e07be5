"""The application: routes, errors, the OpenAPI document; and behind the gate."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response

from mg_tui import __version__
from mg_tui.api import (
    datasets,
    evaluations,
    job_actions,
    job_files,
    job_upkeep,
    jobs,
    machine,
    model_jobs,
    models,
    openai_files,
    openai_jobs,
    servers,
)
from mg_tui.api.access import NATIVE, OPENAI, RULES
from mg_tui.api.document import make_document, operation_id
from mg_tui.api.errors import install_error_handlers
from mg_tui.api.garden import Garden
from mg_tui.api.job_changes import JobChanges
from mg_tui.api.job_events import EventFeeds
from mg_tui.api.listed_jobs import ListedJobs
from mg_tui.api.pages import routes as pages
from mg_tui.api.pages.changes import PageChanges
from mg_tui.api.resources import encode_json, job_listed, json_answer
from mg_tui.gate import AuditLog, Gate, GateLimits, Listener, TokenStore
from mg_tui.runs.folder import RunFolder

ROUTERS = (
    jobs.router,
    job_actions.router,
    job_files.router,
    job_upkeep.router,
    evaluations.router,
    datasets.router,
    models.router,
    model_jobs.router,
    servers.router,
    machine.router,
    openai_files.router,
    openai_jobs.router,
    pages.router,
)


def create_app(garden: Garden) -> FastAPI:
    """The application without its gate."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        garden.feeds = EventFeeds()
        garden.job_changes = JobChanges(garden.home, lambda: garden.list(RunFolder))
        garden.changes = PageChanges(lambda: garden.list(RunFolder))
        yield
        garden.feeds.close()
        garden.changes.close()
        garden.job_changes.close()

    app = FastAPI(
        title="Model Garden",
        version=__version__,
        openapi_url=f"{NATIVE}/openapi.json",
        docs_url=None,  # pages that load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        generate_unique_id_function=operation_id,
    )
    app.state.garden = garden
    garden.listed_jobs = ListedJobs(lambda run, now: encode_json(job_listed(garden, run, now)))
    install_error_handlers(app, garden.paths)
    for router in ROUTERS:
        app.include_router(router)

    @app.get("/health", include_in_schema=False)
    async def health() -> Response:  # answers also while every thread is at work
        return json_answer({"status": "ok"})

    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    return app


def create_gate(garden: Garden, listener: Listener, *, limits: GateLimits | None = None, **options: Any) -> Gate:
    """The application behind the gate. `options`: see `Gate`."""
    return Gate(
        create_app(garden),
        rules=RULES,
        tokens=TokenStore(garden.home),
        listener=listener,
        limits=limits,
        audit=AuditLog(garden.home),
        openai_paths=(f"{OPENAI}/",),
        **options,
    )


def _document(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = make_document(app)
    return app.openapi_schema
