"""Sessions of browsers: after a token was typed once, a cookie stands for it, on pages only.

The cookie is not the token: browsers send cookies of `localhost` to every port of it, whoever listens there. What it
opens are pages, which only show; it is worth nothing in the API, ends after twelve hours, with its token and with the
server, and is known here by its hash.
"""

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

from mg_tui.gate.headers import cookie_of
from mg_tui.gate.tokens import AccessToken, TokenStore

SESSION_SECONDS: Final = 12 * 3600
_MAX_SESSIONS: Final = 256  # then the oldest ends
_COOKIE: Final = "{}={}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{}"


class PageSessions:
    """The sessions of one server.

    Args:
        tokens: whose tokens they stand for.
        secure: whether browsers reach the server by HTTPS only.
    """

    def __init__(self, tokens: TokenStore, *, secure: bool, clock: Callable[[], float] = time.time):
        self._tokens, self._secure, self._clock = tokens, secure, clock
        self._name = f"garden-{secrets.token_hex(4)}"  # other servers of this machine have other names
        self._sessions: OrderedDict[str, tuple[str, float]] = OrderedDict()  # digest: the token's digest, the end

    def start(self, token: AccessToken) -> str:
        """Begin a session of a token; returns the header Set-Cookie."""
        value = secrets.token_urlsafe(32)
        self._sessions[_digest(value)] = (token.sha256, self._clock() + SESSION_SECONDS)
        while len(self._sessions) > _MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return self._cookie(value, SESSION_SECONDS)

    def token_of(self, scope: Mapping[str, Any]) -> AccessToken | None:
        """The token that a request's session stands for, expired or not; None without a session, or token.

        Raises:
            EnvironmentProblem: the tokens cannot be read.
        """
        value = cookie_of(scope, self._name)
        sha256, end = self._sessions.get(_digest(value), ("", 0.0)) if value else ("", 0.0)
        if self._clock() >= end:
            return None
        return next((token for token in self._tokens.tokens() if token.sha256 == sha256), None)

    def end(self, scope: Mapping[str, Any]) -> str:
        """End the session of a request; returns the header Set-Cookie that makes the browser forget it."""
        self._sessions.pop(_digest(cookie_of(scope, self._name) or ""), None)
        return self._cookie("", 0)

    def _cookie(self, value: str, seconds: int) -> str:
        return _COOKIE.format(self._name, value, seconds, "; Secure" if self._secure else "")


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
