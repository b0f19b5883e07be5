"""Addresses with secrets in them, as they may be shown, journalled and stored where others read."""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
HIDDEN: Final = "…"


def redact_url(url: str) -> str:
    """Scheme and host of a URL: topics, paths and queries of notification services are secrets.

    Of an address without a host (`ntfy://topic`) only the scheme.
    """
    found = _SCHEME.match(url)
    if found is None:
        return HIDDEN
    host = _host(url)
    # Most services' addresses have tokens where others have a host: only what looks like a host is shown.
    shown = host if "." in host or host in ("localhost",) else ""
    return f"{found[1].lower()}://{shown}{'/' if shown else ''}{HIDDEN}"


def redact_target(target: str) -> str:
    """A destination of files without user, password, query and fragment; paths are kept."""
    found = _SCHEME.match(target)
    if found is None:
        return target
    rest = re.split(r"[?#]", target[found.end() :], maxsplit=1)[0]
    place, slash, path = rest.partition("/")
    return f"{found[0]}{place.rpartition('@')[2]}{slash}{path}"


def scrub(text: str, secrets: Iterable[str]) -> str:
    """`text` without some secrets: libraries put addresses into their messages."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= 4:
            text = text.replace(secret, HIDDEN)
    return text


def secrets_of(url: str) -> list[str]:
    """The parts of a URL that must not be shown: itself, and user, password, path, query and fragment."""
    parts = urlsplit(url)
    path = parts.path.strip("/")
    host = [] if "." in _host(url) or _host(url) == "localhost" else [_host(url)]
    pieces = [url, parts.username, parts.password, path, *path.split("/"), parts.query, parts.fragment, *host]
    return [piece for piece in pieces if piece]


def _host(url: str) -> str:
    rest = url.partition("://")[2]
    return re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
