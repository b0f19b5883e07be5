"""Errors of the API: problem details with the spec's own messages, OpenAI's shape below /v1, and no path outside the
roots."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mg_tui.api.access import OPENAI
from mg_tui.api.paths import OUTSIDE, AllowedPaths, PathForbidden
from mg_tui.core.errors import EnvironmentProblem, GardenError, RunFailed, SpecError, UsageError
from mg_tui.core.events import json_safe
from mg_tui.gate import REQUEST_ID_KEY, openai_error, problem
from mg_tui.gate.refusals import PROBLEM_TYPE

_MAX_VALUE: int = 200  # characters of a bad value that is repeated in an error


class ApiError(Exception):
    """A request that cannot be done: status, code, what is wrong, and the places in the body that are."""

    def __init__(self, status: int, code: str, detail: str, *, errors: Sequence[dict[str, Any]] = (), hint: str = ""):
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = list(errors)
        self.hint = hint


def not_found(noun: str, name: str) -> ApiError:
    """404 for a resource."""
    return ApiError(404, f"{noun}-not-found", f"There is no {noun} {name!r}.")


def spec_problem(error: SpecError, pointers: dict[str, str] | Any) -> ApiError:
    """422 for values of a spec, each with its place in the body."""
    errors = [
        {
            "pointer": pointers.get(item.field, f"/{item.field}"),
            "got": _shortened(item.value),
            "accepted": item.accepted,
        }
        for item in error.problems
    ]
    return ApiError(422, "invalid-options", error.what, errors=errors)


@contextmanager
def as_conflict() -> Iterator[None]:
    """What a run's state forbids is a conflict: 409 for the `UsageError`s of the body."""
    try:
        yield
    except SpecError:
        raise
    except UsageError as error:
        raise ApiError(409, "conflict", error.what, hint=error.hint or "") from error


def install_error_handlers(app: FastAPI, paths: AllowedPaths) -> None:
    """Answer every error of the application as this module says."""

    async def on_api_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)
        return _response(request, paths, error.status, error.code, error.detail, error.errors, error.hint)

    async def on_garden_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, GardenError)
        status, code = _status_of(error)
        detail = error.what + (f" ({error.why})" if error.why else "")
        errors = spec_problem(error, {}).errors if isinstance(error, SpecError) else _row_errors(error)
        return _response(request, paths, status, code, detail, errors, error.hint or "")

    async def on_invalid_request(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        errors = [
            {**_place(item["loc"]), "got": _shortened(item.get("input")), "accepted": item["msg"]}
            for item in error.errors()
        ]
        return _response(request, paths, 422, "invalid-request", "The request is not valid.", errors)

    async def on_http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return _response(request, paths, error.status_code, "http-error", str(error.detail))

    app.add_exception_handler(ApiError, on_api_error)
    app.add_exception_handler(GardenError, on_garden_error)
    app.add_exception_handler(RequestValidationError, on_invalid_request)
    app.add_exception_handler(HTTPException, on_http_error)


def _status_of(error: GardenError) -> tuple[int, str]:
    if isinstance(error, PathForbidden) or OUTSIDE in f"{error.what} {error.why}":
        return 403, "outside-roots"
    if isinstance(error, SpecError):
        return 422, "invalid-options"
    if isinstance(error, UsageError):
        return 422, "cannot-be-used"
    if isinstance(error, EnvironmentProblem):
        return 503, "not-possible-here"
    return (409, "conflict") if isinstance(error, RunFailed) else (500, "failed")


def _row_errors(error: GardenError) -> list[dict[str, Any]]:
    """Bad rows of a dataset, the first hundred."""
    listed = error.as_dict().get("problems")
    return [item for item in listed if isinstance(item, dict)][:100] if isinstance(listed, list) else []


def _response(
    request: Request,
    paths: AllowedPaths,
    status: int,
    code: str,
    detail: str,
    errors: Sequence[dict[str, Any]] = (),
    hint: str = "",
) -> JSONResponse:
    detail, hint = paths.redact(detail), paths.redact(hint)
    listed = json_safe([_redacted(item, paths) for item in errors])
    if request.url.path.startswith(f"{OPENAI}/"):
        param = str(listed[0].get("pointer", "")).removeprefix("/") if listed else None
        return JSONResponse(openai_error(status, code, detail, param=param or None), status)
    instance = f"urn:request:{request.scope.get(REQUEST_ID_KEY)}"
    body = problem(status, code, detail, instance=instance, errors=listed or None, hint=hint or None)
    return JSONResponse(body, status, media_type=PROBLEM_TYPE)


def _redacted(item: dict[str, Any], paths: AllowedPaths) -> dict[str, Any]:
    return {
        name: paths.redact(value) if isinstance(value, str) and name != "pointer" else value
        for name, value in item.items()
    }


def _shortened(value: Any) -> Any:
    if isinstance(value, bool | int | float) or value is None:
        return value
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _MAX_VALUE else text[:_MAX_VALUE] + "…"


def _place(place: Sequence[Any]) -> dict[str, str]:
    """Where a value is: a JSON pointer into the body, or the name of a parameter."""
    if place and place[0] == "body":
        return {"pointer": f"/{place[1]}" if len(place) > 1 and isinstance(place[1], str) else ""}
    return {"parameter": str(place[-1])}
