"""The gate itself: admits a request, watches its body and its answer, and writes down what it changed."""

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from mg_tui.core.errors import GardenError
from mg_tui.gate import headers
from mg_tui.gate.audit import AuditLog
from mg_tui.gate.exchange import HttpExchange
from mg_tui.gate.limits import BodyBudget, GateLimits, RateLimit, Slots
from mg_tui.gate.listener import Listener
from mg_tui.gate.peers import is_same_user
from mg_tui.gate.refusals import Refusal
from mg_tui.gate.rules import AccessRule, Caller, RuleTable
from mg_tui.gate.sessions import PageSessions
from mg_tui.gate.tokens import LOCAL_CALLER, TOKEN_PREFIX, AccessToken, TokenStore, includes

AsgiMessage = MutableMapping[str, Any]
AsgiScope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]
AsgiApp = Callable[[AsgiScope, Receive, Send], Awaitable[None]]
SameUser = Callable[[tuple[str, int], tuple[str, int]], bool]

CALLER_KEY: Final = "garden.caller"
REQUEST_ID_KEY: Final = "garden.request_id"
SIGN_IN_KEY: Final = "garden.sign_in"
SIGN_OUT_KEY: Final = "garden.sign_out"
SIGN_IN_PATH: Final = "/login"
HEALTH_PATH: Final = "/health"
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_HEALTH_RULE: Final = AccessRule("GET", HEALTH_PATH, "read")

_log = logging.getLogger("mg_tui.gate")


class Gate:
    """An ASGI application around another one.

    Args:
        app: the application; reached only by requests that were admitted.
        rules: what each path and method needs; what has no rule does not exist.
        tokens: who may call.
        listener: decides whether a token is always needed, and which Host headers are right.
        limits: rate, size, time, and how many at once.
        audit: where changes are written; None writes none.
        openai_paths: beginnings of paths whose errors have OpenAI's shape.
        same_user: whether a loopback connection comes from this user's processes.
    """

    def __init__(
        self,
        app: AsgiApp,
        *,
        rules: Sequence[AccessRule],
        tokens: TokenStore,
        listener: Listener,
        limits: GateLimits | None = None,
        audit: AuditLog | None = None,
        openai_paths: Sequence[str] = (),
        same_user: SameUser = is_same_user,
    ):
        self.app = app
        self.rules = RuleTable(rules)
        self.limits = limits = limits or GateLimits()
        self._tokens, self._listener, self._audit = tokens, listener, audit
        self._openai_paths = tuple(openai_paths)
        self._same_user = same_user
        self._rate = RateLimit(limits.requests_per_second, limits.burst)
        self._sessions = PageSessions(tokens, secure=listener.behind_proxy or listener.tls_cert is not None)
        self._failures = RateLimit(limits.failures_per_second, limits.failure_burst)
        self._strangers = RateLimit(limits.failures_per_second, limits.failure_burst)
        self._requests = Slots(limits.requests_at_once, limits.requests_at_once_per_caller, "requests")
        self._bodies = BodyBudget(limits.bodies)
        self._followers = Slots(limits.followers, limits.followers_per_caller, "followers")

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Serve one connection event of the server: a request, or the application's start and end."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:  # a WebSocket: there are none here
            await send({"type": "websocket.close", "code": 1008})

    async def _serve(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        # The application is given our own id, never one of the caller's, which could be anything.
        scope[REQUEST_ID_KEY] = request_id = secrets.token_hex(8)
        as_openai = self._is_openai(scope["path"])
        exchange = HttpExchange(scope, receive, send, self.limits, request_id, bodies=self._bodies, as_openai=as_openai)
        scope[CALLER_KEY] = None
        try:
            rule = self._admit(scope)
            exchange.watch_body(rule)
            if rule.follower and scope[CALLER_KEY].name != LOCAL_CALLER:
                # A stream may last for days; its token may expire or be revoked before.
                exchange.watch_caller(lambda: self._authenticate(scope, rule))
            with self._place(scope[CALLER_KEY], rule):
                # The server leaves out the body of the answer to HEAD by its own scope, which stays as it is.
                inner = {**scope, "method": rule.method}
                await self.app(inner, exchange.receive, exchange.send)
            await exchange.finish()
        except Refusal as refusal:
            await exchange.refuse(refusal)
        except Exception:
            _log.exception("request %s failed: %s %s", request_id, scope["method"], scope["path"])
            await exchange.fail()
        finally:
            exchange.release()
            self._write_audit(scope, exchange.status, request_id)

    def _admit(self, scope: AsgiScope) -> AccessRule:
        """The rule of the request; puts into `scope` who calls, except for the health check.

        Raises:
            Refusal: the request is not admitted.
        """
        method, path = scope["method"], scope["path"]
        headers.require_known_host(scope, self._listener.hosts)
        rule = self.rules.find(method, path)
        if rule is not None and rule.page:
            headers.require_own_page(scope)
        else:
            headers.require_no_browser(scope)
        headers.require_plain_path(scope)
        if path == HEALTH_PATH and method in ("GET", "HEAD"):
            headers.require_content_type(scope, _HEALTH_RULE)
            return _HEALTH_RULE
        if rule is not None and rule.is_open:
            headers.require_content_type(scope, rule)
            scope[SIGN_IN_KEY] = lambda secret: self._sign_in(scope, secret)
            scope[SIGN_OUT_KEY] = lambda: self._sessions.end(scope)
            return rule
        scope[CALLER_KEY] = caller = self._authenticate(scope, rule)
        if wait := self._rate.wait_for(caller.name):
            raise Refusal(429, "too-fast", "Too many requests.", _retry_after(wait))
        if rule is None:
            raise self._no_rule(path)
        if not includes(caller.scope, rule.scope):
            raise Refusal(
                403, "scope-too-small", f"This needs a token with scope {rule.scope}; yours has {caller.scope}."
            )
        headers.require_content_type(scope, rule)
        return rule

    def _no_rule(self, path: str) -> Refusal:
        if methods := self.rules.methods(path):
            allowed = ", ".join(methods)
            return Refusal(405, "wrong-method", f"This path has {allowed}.", {"Allow": allowed})
        return Refusal(404, "no-such-path", "There is nothing at this path.")

    def _authenticate(self, scope: AsgiScope, rule: AccessRule | None) -> Caller:
        secret = self._secret_of(scope)
        if secret is not None:
            return self._caller_of(self._find_token(lambda: self._tokens.find(secret)), scope)
        is_page = rule is not None and rule.page
        if is_page and (token := self._find_token(lambda: self._sessions.token_of(scope))) is not None:
            return self._caller_of(token, scope)
        # A page in a browser of this user is not this user: somebody else may have written it.
        if not self._listener.needs_token and not headers.is_from_browser(scope) and self._is_local(scope):
            return Caller(LOCAL_CALLER, "admin")
        if is_page and headers.accepts_html(scope):
            raise Refusal(303, "not-signed-in", "Sign in first.", {"Location": SIGN_IN_PATH})
        raise self._unauthorized(scope, "token-missing", "Send a token: Authorization: Bearer mg_...")

    def _secret_of(self, scope: AsgiScope) -> str | None:
        secret = headers.bearer_token(scope)
        # What is no token of ours counts as none: clients of OpenAI's API send a made-up one where none is needed.
        return secret if secret is None or self._listener.needs_token or secret.startswith(TOKEN_PREFIX) else None

    def _sign_in(self, scope: AsgiScope, secret: str) -> str:
        """Begin a session of the token with this secret; returns the header Set-Cookie.

        Raises:
            Refusal: there is no such token (401), or there were too many tries (429).
        """
        token = self._find_token(lambda: self._tokens.find(secret))
        scope[CALLER_KEY] = self._caller_of(token, scope)  # for the audit log
        assert token is not None
        return self._sessions.start(token)

    def _find_token(self, find: Callable[[], AccessToken | None]) -> AccessToken | None:
        try:
            return find()
        except GardenError as error:
            _log.error("%s", error)
            raise Refusal(503, "tokens-unreadable", "The server cannot read its tokens; its log says why.") from None

    def _caller_of(self, token: AccessToken | None, scope: AsgiScope) -> Caller:
        if token is None:
            raise self._unauthorized(scope, "token-unknown", "The token is unknown or was revoked.")
        if token.is_expired(time.time()):
            raise self._unauthorized(scope, "token-expired", "The token has expired.")
        return Caller(token.name, token.scope)

    def _is_local(self, scope: AsgiScope) -> bool:
        """Whether the request comes straight from a process of this user."""
        client, server = scope.get("client"), scope.get("server")
        if client is None or server is None or headers.is_forwarded(scope):
            return False
        return self._same_user((client[0], client[1]), (server[0], server[1]))

    def _unauthorized(self, scope: AsgiScope, code: str, detail: str) -> Refusal:
        client = scope.get("client")
        if wait := self._failures.wait_for(str(client[0]) if client else ""):
            return Refusal(429, "too-many-failures", "Too many requests without a valid token.", _retry_after(wait))
        return Refusal(401, code, detail, {"WWW-Authenticate": "Bearer"})

    def _place(self, caller: Caller | None, rule: AccessRule) -> AbstractContextManager[None]:
        return (self._followers if rule.follower else self._requests).taken(caller.name if caller else "")

    def _is_openai(self, path: str) -> bool:
        return path.startswith(self._openai_paths) if self._openai_paths else False

    def _write_audit(self, scope: AsgiScope, status: int | None, request_id: str) -> None:
        # Refusals for their rate are not written: they would fill the disk. Nor is everything that comes from nobody
        # we know, a page in a browser for one: the log keeps 16 MB, and what callers did would soon be pushed out.
        if self._audit is None or scope["method"] in _SAFE_METHODS or status == 429:
            return
        caller: Caller | None = scope[CALLER_KEY]
        if caller is None and self._strangers.wait_for(""):
            return
        client = scope.get("client")
        self._audit.write(
            caller=caller.name if caller else None,
            scope=caller.scope if caller else None,
            address=client[0] if client else None,
            method=scope["method"],
            path=scope["path"][:300],
            status=status,
            request=request_id,
        )


def _retry_after(wait: float) -> dict[str, str]:
    return {"Retry-After": str(int(wait) + 1)}
