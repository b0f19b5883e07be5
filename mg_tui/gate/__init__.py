"""The gate in front of every HTTP server of this program: pure ASGI, denies what no rule allows.

    app = ...                                              any ASGI application
    listener = Listener("127.0.0.1", 8000)                 where it listens; `check_listener` refuses what is unsafe
    gate = Gate(
        app,
        rules=(AccessRule("GET", "/v1/models", "read"), AccessRule("POST", "/v1/chat/completions", "run")),
        tokens=TokenStore(settings.home),
        listener=listener,
        openai_paths=("/v1/",),                            error shape `{"error": {...}}` below these; else RFC 9457
    )
    serve(gate, listener, on_ready=print)                  uvicorn with limits, until SIGTERM or SIGINT

The application finds who calls in `scope["garden.caller"]`, a `Caller`, and the request's id, which errors name, in
`scope["garden.request_id"]`. What it has to look after itself is listed in docs/api.md.

Without a token, only `GET` and `HEAD /health` answer, and on a loopback address processes of the same user that are no
browser. Everything else needs a bearer token of `tokens.json` (mode 0600, hashes only) whose scope the path's rule
demands; `admin` includes `run`, `run` includes `read`. A path without a rule does not exist, whatever the application
has mounted there.

Browsers are refused, except on a rule with `page`: what is there only shows, and is reached from the address bar or
from another page of this server. A token is typed once, into the form at `SIGN_IN_PATH`; then a cookie stands for it
(`sessions`), on pages only. The form's handler calls `scope["garden.sign_in"]`.

Modules: `rules` and `middleware` (who may do what), `tokens`, `sessions`, `peers` (who is at the other end of a
loopback connection), `limits` (rate, size, concurrency, followers), `refusals` (errors), `audit`, `listener`
(addresses), and `serving` with `connections` (uvicorn; imported on first use, as it is slow to import).
"""

from mg_tui.gate.audit import AuditLog
from mg_tui.gate.limits import GateLimits
from mg_tui.gate.listener import Listener, check_listener
from mg_tui.gate.middleware import CALLER_KEY, REQUEST_ID_KEY, SIGN_IN_KEY, SIGN_IN_PATH, SIGN_OUT_KEY, Gate
from mg_tui.gate.refusals import Refusal, openai_error, problem
from mg_tui.gate.rules import AccessRule, Caller
from mg_tui.gate.serving import serve
from mg_tui.gate.tokens import SCOPES, AccessToken, Scope, TokenStore

__all__ = [
    "CALLER_KEY",
    "REQUEST_ID_KEY",
    "SCOPES",
    "SIGN_IN_KEY",
    "SIGN_IN_PATH",
    "SIGN_OUT_KEY",
    "AccessRule",
    "AccessToken",
    "AuditLog",
    "Caller",
    "Gate",
    "GateLimits",
    "Listener",
    "Refusal",
    "Scope",
    "TokenStore",
    "check_listener",
    "openai_error",
    "problem",
    "serve",
]
