"""The HTTP API: OpenAI's chat completions and list of models, health, and metrics for Prometheus.

The gate (`mg_tui.gate`) stands before it: tokens, Host headers, sizes and rates of requests are its business.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from mg_tui.core.errors import GardenError
from mg_tui.core.text import one_line
from mg_tui.engine.inference.generation import Sampling
from mg_tui.engine.serving.answering import (
    AnswerEnd,
    ChatTask,
    EngineEnded,
    PendingAnswer,
    ServingEngine,
    TaskRefused,
    TextPiece,
    TooManyWaiting,
)
from mg_tui.engine.serving.chat_replies import ChatCompletion, error_body, error_event, model_entry, model_list
from mg_tui.engine.serving.chat_request import ChatRequest
from mg_tui.engine.serving.client_watch import ClientWatch
from mg_tui.engine.serving.image_store import ImageStore
from mg_tui.engine.serving.statistics import RequestClock, ServingStatistics

STREAM_TYPE: Final = "text/event-stream"
_IMAGES_AT_ONCE: Final = 8  # decoded or downloaded at once, of all requests
_PROMETHEUS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class ServedState:
    """What the handlers share.

    Attributes:
        engine: answers.
        images: files of requests' images.
        statistics: counts.
        base: name of the base model.
        max_new_tokens: of a request that names none.
        timeout: seconds of a request.
        proofs: by model, whether it answers as the trained one does.
    """

    engine: ServingEngine
    images: ImageStore
    statistics: ServingStatistics
    base: str
    max_new_tokens: int
    timeout: float
    proofs: dict[str, Any]


class _BadRequest(Exception):
    """A request that is answered with an error of OpenAI's shape."""

    def __init__(
        self,
        status: int,
        body: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
        *,
        outcome: str = "refused",
    ):
        super().__init__(str(body))
        self.status, self.body, self.headers, self.outcome = status, dict(body), dict(headers or {}), outcome


def create_app(state: ServedState) -> FastAPI:
    """The application."""
    app = FastAPI(title="Model Garden", docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    created = int(time.time())
    at_once = asyncio.Semaphore(_IMAGES_AT_ONCE)

    @app.get("/health")
    async def health() -> Response:
        problem = state.engine.problem()
        # Nothing more: no token is asked for here.
        return JSONResponse({"status": "ok" if problem is None else "failed"}, 200 if problem is None else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(state.statistics.text(), media_type=_PROMETHEUS_TYPE)

    @app.get("/v1/models")
    async def models() -> Any:
        return model_list([_entry(name) for name in state.engine.names])

    @app.get("/v1/models/{name}")
    async def model(name: str) -> Any:
        _require_model(state, name)
        return _entry(name)

    def _entry(name: str) -> dict[str, Any]:
        return model_entry(name, created, state.base, proof=state.proofs.get(name))

    @app.post("/v1/chat/completions")
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        clock = RequestClock(body.model)
        try:
            _require_model(state, body.model)
            return await _complete(state, body, request, clock, at_once)
        except _BadRequest as error:
            served = body.model if body.model in state.engine.names else ""
            state.statistics.ended(served, error.outcome)
            raise

    @app.exception_handler(_BadRequest)
    async def refuse(_request: Request, error: _BadRequest) -> Response:
        return JSONResponse(error.body, error.status, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        state.statistics.ended("", "refused")
        return JSONResponse(_validation_body(error), 400)

    @app.exception_handler(HTTPException)
    async def failed(_request: Request, error: HTTPException) -> Response:
        kind = "invalid_request_error" if error.status_code < 500 else "server_error"
        return JSONResponse(error_body(str(error.detail), kind=kind), error.status_code, headers=error.headers)

    return app


def _require_model(state: ServedState, name: str) -> None:
    if name not in state.engine.names:
        listed = ", ".join(one_line(served, limit=80) for served in state.engine.names)
        message = f"The model {one_line(name, limit=80)!r} does not exist; this server has {listed}."
        raise _BadRequest(404, error_body(message, param="model", code="model_not_found"))


async def _complete(
    state: ServedState, body: ChatRequest, request: Request, clock: RequestClock, at_once: asyncio.Semaphore
) -> Response:
    files: list[str] = []
    pending: PendingAnswer | None = None
    client = ClientWatch(request.receive, clock.began + state.timeout)
    try:
        for url in body.urls:
            async with at_once:
                files.append(await asyncio.to_thread(state.images.add, url))
        limit = body.token_limit or state.max_new_tokens
        sampling = Sampling(limit, body.temperature or 0.0, 1.0 if body.top_p is None else body.top_p, body.seed)
        pending = state.engine.start(ChatTask(body.model, body.conversation(files), sampling, body.stops))
        answer = _Answer(state, body, clock, files, pending, client)
        # The first event before the answer begins: what is refused is refused with a status.
        answer.first = await client.next(pending)
    except BaseException as error:
        if pending is not None:
            pending.cancel()
        client.close()
        state.images.release(files)
        if isinstance(error, GardenError | TimeoutError):
            raise _to_bad_request(error) from error
        raise
    return _StreamedAnswer(answer) if body.stream else await answer.whole()


@dataclass(slots=True)
class _Answer:
    """An answer under way; `first` is its first event, None when the client has gone."""

    state: ServedState
    body: ChatRequest
    clock: RequestClock
    files: list[str]
    pending: PendingAnswer
    client: ClientWatch
    first: TextPiece | AnswerEnd | None = None
    _ended: bool = False

    async def whole(self) -> Response:
        """The answer in one piece."""
        text: list[str] = []
        try:
            event = self.first
            while isinstance(event, TextPiece):
                self.clock.mark_token()
                text.append(event.text)
                event = await self.client.next(self.pending)
            if event is None:
                return PlainTextResponse("", 499)
            self._count(event)
            return JSONResponse(ChatCompletion(self.body.model).whole("".join(text), event))
        except (GardenError, TimeoutError) as error:
            self._ended = True  # counted by whoever answers with the error
            raise _to_bad_request(error) from error
        finally:
            self.end()

    async def chunks(self) -> AsyncIterator[str]:
        """The answer in the chunks of a stream."""
        completion, options = ChatCompletion(self.body.model), self.body.stream_options
        try:
            yield completion.first()
            event = self.first
            while isinstance(event, TextPiece):
                self.clock.mark_token()
                yield completion.piece(event.text)
                event = await self.client.next(self.pending)
            if event is not None:
                self._count(event)
                yield completion.last(event, include_usage=bool(options and options.include_usage))
        except (GardenError, TimeoutError) as error:
            bad = _to_bad_request(error)
            self._ended = True
            self.state.statistics.ended(self.body.model, bad.outcome)
            yield error_event(bad.body)

    def _count(self, end: AnswerEnd) -> None:
        self._ended = True
        self.state.statistics.answered(self.clock, end)

    def end(self) -> None:
        """Let go of everything; an answer that has not ended is cancelled."""
        self.pending.cancel()
        self.client.close()
        self.state.images.release(self.files)
        self.files = []
        if not self._ended:
            self._ended = True
            self.state.statistics.ended(self.body.model, "cancelled")


class _StreamedAnswer(Response):
    """Sends the chunks of an answer as they come. Awaits nothing once it is cancelled."""

    media_type = STREAM_TYPE

    def __init__(self, answer: _Answer):
        super().__init__(headers={"x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._answer = answer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for chunk in self._answer.chunks():
                await send({"type": "http.response.body", "body": chunk.encode(), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._answer.end()


def _to_bad_request(error: Exception) -> _BadRequest:
    """A failure as an answer. Only what our own errors say is told."""
    if isinstance(error, TooManyWaiting):
        body = error_body(f"{error.what}; {error.hint}", kind="rate_limit_error", code="queue_full")
        return _BadRequest(429, body, {"Retry-After": str(error.seconds)})
    if isinstance(error, TaskRefused):
        return _BadRequest(400, error_body(_sentence(error), code=error.code))
    if isinstance(error, TimeoutError):
        return _BadRequest(504, error_body("The answer took too long.", kind="server_error"), outcome="failed")
    if isinstance(error, EngineEnded):
        body = error_body("The server is ending.", kind="server_error")
        return _BadRequest(503, body, {"Retry-After": "30"}, outcome="failed")
    message = _sentence(error) if isinstance(error, GardenError) else "The server failed."
    return _BadRequest(500, error_body(message, kind="server_error"), outcome="failed")


def _sentence(error: GardenError) -> str:
    parts = [error.what, *(part for part in (error.why, error.hint) if part)]
    text = "; ".join(one_line(part, limit=300) for part in parts)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _validation_body(error: RequestValidationError) -> dict[str, Any]:
    """The first field that cannot be used, and how many there are."""
    problems = error.errors()
    first = problems[0]
    place = [str(part) for part in first["loc"] if part not in ("body",)]
    # Names of alternatives (`str`, `list[...]`) are pydantic's, not the request's.
    name = ".".join(part for part in place if part.isidentifier() or part.isdecimal()) or None
    if first["type"] == "extra_forbidden":
        message = f"Unsupported parameter: {one_line(str(name), limit=80)}"
    elif first["type"] == "json_invalid":
        message, name = "The body is not valid JSON.", None
    else:
        text = str(first["msg"]).removeprefix("Value error, ")
        message = f"{one_line(name, limit=80)}: {one_line(text, limit=200)}" if name else one_line(text, limit=240)
    more = len(problems) - 1
    return error_body(message + (f" ({more} more)" if more else ""), param=name)
