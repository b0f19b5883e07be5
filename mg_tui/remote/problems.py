"""What can be wrong with a server, each as one error: what, where, why, and what to try."""

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from typing import Any, Final

from mg_tui.core.errors import EnvironmentProblem, GardenError, UsageError
from mg_tui.core.text import one_line
from mg_tui.remote.address import TOKEN_ENV, ServerAddress

_PROBLEM_PREFIX: Final = "urn:model-garden:problem:"
_MAX_TEXT: Final = 600
_UNREACHABLE: Final = "Start `model-garden api` there; through SSH: ssh -N -L {port}:127.0.0.1:8000 BOX"


class ServerProblem(EnvironmentProblem):
    """The server cannot be reached or understood. `passing`: it may be otherwise in a while."""

    def __init__(self, what: str, *, where: str, why: str | None = None, hint: str | None = None, passing: bool = True):
        super().__init__(what, where=where, why=why, hint=hint)
        self.passing = passing

    def summary(self) -> str:
        """In a few words."""
        return one_line(self.why or self.what, limit=120)


class ServerRefusal(UsageError):
    """The server understood, and refused: it says what is wrong."""

    def __init__(self, status: int, what: str, *, where: str | None = None, hint: str | None = None):
        super().__init__(what, where=where, hint=hint)
        self.status = status


def explain_failure(error: Exception, address: ServerAddress) -> ServerProblem:
    """Why a server was not reached, or its answer is none."""
    url = address.url
    if isinstance(error, ssl.SSLCertVerificationError):
        return ServerProblem(
            "The server's certificate is not trusted.",
            where=url,
            why=one_line(error.verify_message or str(error), limit=_MAX_TEXT),
            hint="put the authority's certificate into a file and name it in SSL_CERT_FILE; or use an SSH tunnel",
            passing=False,
        )
    if isinstance(error, ssl.SSLError):
        return ServerProblem(
            "The server does not speak TLS.",
            where=url,
            why=one_line(error.reason or str(error), limit=_MAX_TEXT).replace("_", " ").lower(),
            hint=f"try {url.replace('https://', 'http://')} if it is behind an SSH tunnel",
            passing=False,
        )
    if isinstance(error, socket.gaierror):
        return ServerProblem(
            f"There is no host {address.host!r}.", where=url, why=error.strerror, hint="check --server"
        )
    if isinstance(error, ConnectionRefusedError):
        hint = _UNREACHABLE.format(port=address.port)
        return ServerProblem("Nothing listens at this address.", where=url, why="connection refused", hint=hint)
    if isinstance(error, TimeoutError):
        return ServerProblem("The server does not answer.", where=url, why="no answer in time")
    if isinstance(error, http.client.BadStatusLine | http.client.LineTooLong) and not isinstance(
        error, http.client.RemoteDisconnected
    ):
        hint = f"try {url.replace('http://', 'https://')}" if address.scheme == "http" else "check --server"
        return ServerProblem("What answers there does not speak HTTP.", where=url, hint=hint, passing=False)
    if isinstance(error, http.client.HTTPException | ConnectionError):
        hint = f"if the server has a certificate: {url.replace('http://', 'https://')}"
        why = "it closed the connection without an answer"
        return ServerProblem(
            "The connection was lost.", where=url, why=why, hint=hint if address.scheme == "http" else None
        )
    why = one_line(getattr(error, "strerror", None) or str(error), limit=_MAX_TEXT)
    return ServerProblem("The server cannot be reached.", where=url, why=why)


def not_a_garden(address: ServerAddress, why: str) -> ServerProblem:
    """The error for a server that is something else."""
    return ServerProblem(
        "What answers there is not Model Garden.",
        where=address.url,
        why=why,
        hint="check --server; `model-garden api` prints its address",
        passing=False,
    )


def explain_answer(address: ServerAddress, status: int, headers: Mapping[str, str], body: bytes) -> GardenError:
    """The error that an answer other than 2xx is."""
    problem = _problem_of(body)
    if problem is None:
        if 300 <= status < 400:
            return not_a_garden(address, f"it redirects (HTTP {status})")
        if status in (502, 503, 504):
            return ServerProblem("The server does not answer.", where=address.url, why=f"HTTP {status} of a proxy")
        return not_a_garden(address, f"HTTP {status} without problem details")
    detail, hint = one_line(str(problem.get("detail", "")), limit=_MAX_TEXT), problem.get("hint")
    hint = one_line(hint, limit=_MAX_TEXT) if isinstance(hint, str) else None
    code = str(problem.get("type", "")).removeprefix(_PROBLEM_PREFIX)
    if status == 401:
        return _token_problem(address, code, detail)
    if status == 421:
        return ServerProblem(
            "The server does not answer under this name.",
            where=address.url,
            why=detail,
            hint=f"start it with --allow-host {address.host}, or use an SSH tunnel",
            passing=False,
        )
    if status == 403 and code == "scope-too-small":
        return ServerRefusal(
            403, detail, where=address.url, hint="`model-garden tokens create NAME --scope run`, there"
        )
    if status == 429:
        wait = headers.get("retry-after", "1")
        return ServerProblem("The server has too much to do.", where=address.url, why=detail, hint=f"wait {wait} s")
    if status >= 500:
        return ServerProblem(detail or "The server failed.", where=address.url, hint=hint)
    return ServerRefusal(status, detail, where=_places(problem) or None, hint=hint)


def _token_problem(address: ServerAddress, code: str, detail: str) -> ServerProblem:
    what = {
        "token-missing": "The server wants a token.",
        "token-expired": "The token has expired.",
        "token-unknown": "The server does not know this token.",
    }.get(code, "The server does not accept the token.")
    hint = f"`model-garden tokens create NAME` there prints one; put it into {TOKEN_ENV}, or a file for --token-file"
    return ServerProblem(what, where=address.url, why=detail or None, hint=hint, passing=False)


def too_old(address: ServerAddress, version: str) -> ServerProblem:
    """The error for a server of another version than can be followed."""
    from mg_tui import __version__

    return ServerProblem(
        f"The server has Model Garden {one_line(version, limit=40)}, which cannot be followed.",
        where=address.url,
        why=f"this is {__version__}, and the two do not understand each other",
        hint="use the same version on both machines",
        passing=False,
    )


def _places(problem: Mapping[str, Any]) -> str:
    """Where in the request the values are that were refused, by field."""
    errors = problem.get("errors")
    if not isinstance(errors, list):
        return ""
    names = (str(item.get("pointer", "")).strip("/") for item in errors if isinstance(item, dict))
    return one_line(", ".join(filter(None, names)), limit=_MAX_TEXT)


def _problem_of(body: bytes) -> Mapping[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    is_ours = isinstance(value, dict) and str(value.get("type", "")).startswith(_PROBLEM_PREFIX)
    return value if is_ours else None
