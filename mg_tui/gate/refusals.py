"""Errors as HTTP answers: problem details (RFC 9457), or OpenAI's `{"error": {...}}` where its clients call."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

PROBLEM_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:model-garden:problem:"

_OPENAI_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class Refusal(Exception):
    """A request that is refused, or that fails: its status, a code in lower case with dashes, and what is wrong."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None):
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})


def problem(status: int, code: str, detail: str, *, instance: str | None = None, **more: Any) -> dict[str, Any]:
    """Problem details of RFC 9457; `more` are members beside the standard ones, None left out."""
    members = {
        "type": TYPE_PREFIX + code,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": instance,
        **more,
    }
    return {name: value for name, value in members.items() if value is not None}


def openai_error(status: int, code: str, message: str, *, param: str | None = None) -> dict[str, Any]:
    """The body of an error as OpenAI's API has it."""
    kind = _OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def refusal_body(refusal: Refusal, *, as_openai: bool, instance: str | None) -> tuple[str, bytes]:
    """The content type and the body of a refusal."""
    if as_openai:
        values, content_type = openai_error(refusal.status, refusal.code, refusal.detail), "application/json"
    else:
        values = problem(refusal.status, refusal.code, refusal.detail, instance=instance)
        content_type = PROBLEM_TYPE
    return content_type, json.dumps(values, ensure_ascii=False).encode()
