"""What the gate reads from a request before anything else sees it: Host, browser's marks, path, token, content type."""

import re
from collections.abc import Mapping
from typing import Any, Final

from mg_tui.gate.refusals import Refusal
from mg_tui.gate.rules import AccessRule

# An encoded slash, dot, backslash or NUL means one thing to one parser and another to the next.
_ENCODED: Final = re.compile(rb"%(2f|2e|5c|00)|\\", re.IGNORECASE)
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?", re.IGNORECASE)
_FORWARDED: Final = re.compile(
    rb"forwarded|x-(original-)?forwarded-.*|x-(real|client|cluster-client)-ip|true-client-ip|cf-connecting-ip|cdn-loop|via",
    re.IGNORECASE,
)
_BROWSER_MARKS: Final = ("origin", "sec-fetch-site", "sec-fetch-mode")
_SECRETS_IN_QUERY: Final = re.compile(rb"(^|&)(token|access_token|api_key|apikey|key)=", re.IGNORECASE)


def values_of(scope: Mapping[str, Any], name: str) -> list[str]:
    """Every value of a header."""
    wanted = name.encode()
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == wanted]


def require_known_host(scope: Mapping[str, Any], hosts: frozenset[str]) -> None:
    """Refuse a Host header that names no name of this server: a page in a browser whose name was rebound to it.

    Raises:
        Refusal: 421.
    """
    named = values_of(scope, "host")
    match = _HOST.fullmatch(named[0]) if len(named) == 1 else None
    if match is None or match[1].strip("[]").lower() not in hosts:
        raise Refusal(421, "wrong-host", "The Host header names no name of this server; --allow-host adds one.")


def require_no_browser(scope: Mapping[str, Any]) -> None:
    """Refuse what a browser sends for a page: none has business here but those of `require_own_page`.

    Raises:
        Refusal: 403.
    """
    if is_from_browser(scope):
        raise Refusal(403, "from-a-browser", "Requests from pages in a browser are refused.")


def require_own_page(scope: Mapping[str, Any]) -> None:
    """Refuse what a browser sends for anything but a page of this server, or an address that a person typed.

    A form names its origin, which must be the name that the request was sent to; what only reads has none. Ports and
    other machines of the same site are other origins.

    Raises:
        Refusal: 403.
    """
    origins, sites = values_of(scope, "origin"), values_of(scope, "sec-fetch-site")
    kinds = values_of(scope, "sec-fetch-dest")
    if scope["method"] in ("GET", "HEAD"):
        own = not origins and sites in ([], ["none"], ["same-origin"])
    else:
        named = values_of(scope, "host")
        addresses = [f"{scheme}://{host}".lower() for scheme in ("http", "https") for host in named]
        own = len(origins) == 1 and origins[0].lower() in addresses and sites in ([], ["same-origin"])
    if not own or kinds not in ([], ["document"], ["empty"]):
        raise Refusal(403, "from-another-page", "Requests from other pages are refused; type the address.")


def is_from_browser(scope: Mapping[str, Any]) -> bool:
    """Whether a browser says that it sent the request."""
    return any(values_of(scope, name) for name in _BROWSER_MARKS)


def accepts_html(scope: Mapping[str, Any]) -> bool:
    """Whether the answer is for a person to look at."""
    return any("text/html" in value for value in values_of(scope, "accept"))


def cookie_of(scope: Mapping[str, Any], name: str) -> str | None:
    """The value of a cookie; None when there is none, or more than one."""
    pairs = [pair.strip().partition("=") for value in values_of(scope, "cookie") for pair in value.split(";")]
    values = [value for key, _, value in pairs if key == name]
    return values[0] if len(values) == 1 else None


def require_plain_path(scope: Mapping[str, Any]) -> None:
    """Refuse paths that parsers disagree about, and secrets in the query, where logs would keep them.

    Raises:
        Refusal: 400.
    """
    raw, path = scope.get("raw_path") or b"", scope["path"]
    segments = path.split("/")
    if (
        not path.startswith("/")
        or _ENCODED.search(raw)
        or not path.isprintable()
        or "\\" in path
        or any(segment in ("", ".", "..") for segment in segments[1:-1])
        or segments[-1] in (".", "..")
    ):
        raise Refusal(400, "bad-path", "The path is not a plain one.")
    if _SECRETS_IN_QUERY.search(scope.get("query_string") or b""):
        raise Refusal(400, "token-in-query", "Send the token in the Authorization header, never in the address.")


def bearer_token(scope: Mapping[str, Any]) -> str | None:
    """The token of the Authorization header; None when there is no such header."""
    values = values_of(scope, "authorization")
    if not values:
        return None
    kind, _, secret = values[0].partition(" ")
    return secret.strip() if kind.lower() == "bearer" and len(values) == 1 else ""


def is_forwarded(scope: Mapping[str, Any]) -> bool:
    """Whether somebody forwards the request, who may be anywhere."""
    return any(_FORWARDED.fullmatch(name) for name, _value in scope["headers"])


def content_length(scope: Mapping[str, Any]) -> int | None:
    """The length that the request declares; 0 when it has no body, None when it declares none.

    Raises:
        Refusal: 400, it is no number.
    """
    values = values_of(scope, "content-length")
    if not values:
        return None if values_of(scope, "transfer-encoding") else 0
    if len(values) > 1 or not values[0].isascii() or not values[0].isdigit():
        raise Refusal(400, "bad-length", "Content-Length is not a number.")
    return int(values[0][:20])


def require_content_type(scope: Mapping[str, Any], rule: AccessRule) -> None:
    """Refuse a body of another type than the rule's: a form in a page can send text, but no JSON.

    Raises:
        Refusal: 415.
    """
    if content_length(scope) == 0:
        return
    types = values_of(scope, "content-type")
    if len(types) != 1 or types[0].partition(";")[0].strip().lower() != rule.content_type:
        raise Refusal(415, "wrong-content-type", f"Send the body as {rule.content_type}.")
