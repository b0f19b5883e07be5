"""Pages for browsers: what their sessions open, and what other pages can do with them."""

import pytest

from mg_tui.gate import SIGN_IN_KEY, SIGN_IN_PATH, SIGN_OUT_KEY, AccessRule, GateLimits, Listener, Refusal
from mg_tui.gate.rules import PAGE_FORM_TYPE
from mg_tui.gate.sessions import SESSION_SECONDS, PageSessions
from tests.gate.conftest import small_app

RULES = (
    AccessRule("GET", "/page", "read", page=True),
    AccessRule("GET", "/page/live", "read", page=True, follower=True),
    AccessRule("GET", SIGN_IN_PATH, "read", page=True, is_open=True),
    AccessRule("POST", SIGN_IN_PATH, "read", page=True, is_open=True, content_type=PAGE_FORM_TYPE, max_body=100),
    AccessRule("POST", "/logout", "read", page=True, is_open=True, content_type=PAGE_FORM_TYPE),
    AccessRule("GET", "/things", "read"),
    AccessRule("POST", "/things", "run"),
    AccessRule("GET", "/things/events", "read", follower=True),
)
TYPED = (("Sec-Fetch-Site", "none"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"))
SCRIPT = (("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty"))
HTML = (("Accept", "text/html,application/xhtml+xml"),)
FORM = (("Origin", "http://localhost:8000"), ("Sec-Fetch-Site", "same-origin"), ("Content-Type", PAGE_FORM_TYPE))


async def app(scope, receive, send) -> None:
    if scope["method"] == "POST" and scope["path"] in (SIGN_IN_PATH, "/logout"):
        try:
            secret = (await receive())["body"].decode()
            cookie = scope[SIGN_IN_KEY](secret) if scope["path"] == SIGN_IN_PATH else scope[SIGN_OUT_KEY]()
            status, headers = 303, [(b"set-cookie", cookie.encode())]
        except Refusal as refusal:
            status, headers = refusal.status, []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
    else:
        await small_app(scope, receive, send)


@pytest.fixture
def make(make_client):
    return lambda **more: make_client(app=app, rules=RULES, **more)


def sign_in(client, secret: str) -> tuple[str, str]:
    """The header Cookie of a new session."""
    answer = client("POST", SIGN_IN_PATH, headers=FORM, body=secret.encode())
    assert answer.status == 303, answer
    return "Cookie", answer.headers["set-cookie"].partition(";")[0]


def test_a_browser_needs_a_session_also_on_loopback(make, store) -> None:
    client = make(listener=Listener(), same_user=True)
    assert client("GET", "/page").json["caller"] == "local"  # no browser: as everywhere
    refused = client("GET", "/page", headers=TYPED)
    assert refused.status == 401
    sent_on = client("GET", "/page", headers=(*TYPED, *HTML))
    assert (sent_on.status, sent_on.headers["location"]) == (303, SIGN_IN_PATH)
    assert client("GET", SIGN_IN_PATH, headers=TYPED).status == 200
    session = sign_in(client, store.create("phone", "read"))
    for headers in (TYPED, SCRIPT):
        assert client("GET", "/page", headers=(*headers, session)).json["caller"] == "phone"


def test_a_session_is_worth_nothing_elsewhere(make, store) -> None:
    client = make()
    session = sign_in(client, store.create("all", "admin"))
    for method, path in (("GET", "/things"), ("POST", "/things"), ("GET", "/things/events"), ("GET", "/nothing")):
        assert client(method, path, headers=(session,)).status == 401
        for marks in (TYPED, SCRIPT):
            assert client(method, path, headers=(*marks, session)).status == 403
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert client(method, "/page", headers=(session,)).status == 401
        assert client(method, "/page", headers=(*FORM, session)).status == 403


@pytest.mark.parametrize(
    ("headers", "host"),
    [
        ((("Sec-Fetch-Site", "cross-site"),), "localhost:8000"),
        ((("Sec-Fetch-Site", "same-site"),), "localhost:8000"),  # another port of this machine
        ((("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")), "localhost:8000"),
        ((("Origin", "http://evil.example"),), "localhost:8000"),
        ((("Origin", "http://localhost:8000"),), "localhost:8000"),  # of another kind of request than a page's
        ((("Origin", "null"),), "localhost:8000"),
        ((("Sec-Fetch-Dest", "iframe"),), "localhost:8000"),
        ((("Sec-Fetch-Dest", "script"),), "localhost:8000"),
        ((("Sec-Fetch-Dest", "image"),), "localhost:8000"),
        (TYPED, "evil.example"),
    ],
)
def test_another_page_cannot_use_a_session(make, store, headers, host) -> None:
    client = make()
    session = sign_in(client, store.create("phone", "read"))
    for path in ("/page", "/page/live", SIGN_IN_PATH):
        answer = client("GET", path, headers=(*headers, *HTML, session), host=host)
        assert answer.status == (421 if host == "evil.example" else 403)
        assert b"reached" not in answer.body


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("Sec-Fetch-Site", "same-origin"),),
        (("Origin", "http://evil.example"),),
        (("Origin", "http://localhost:3000"),),
        (("Origin", "http://localhost"),),
        (("Origin", "null"),),
        (("Origin", "http://localhost:8000"), ("Origin", "http://evil.example")),
        (("Origin", "http://localhost:8000"), ("Sec-Fetch-Site", "cross-site")),
        (("Origin", "http://localhost:8000"), ("Sec-Fetch-Site", "none")),
    ],
)
def test_another_page_cannot_sign_in(make, store, headers) -> None:
    client = make(listener=Listener(), same_user=True)
    secret = store.create("theirs", "read")
    kind = ("Content-Type", PAGE_FORM_TYPE)
    answer = client("POST", SIGN_IN_PATH, headers=(*headers, kind), body=secret.encode())
    assert answer.status == 403 and "set-cookie" not in answer.headers
    assert client("POST", "/logout", headers=(*headers, kind)).status == 403


def test_a_form_is_a_small_form(make) -> None:
    client = make()
    assert client("POST", SIGN_IN_PATH, headers=FORM, body=b"x" * 101).status == 413
    assert client("POST", SIGN_IN_PATH, headers=(*FORM[:2], ("Content-Type", "text/plain")), body=b"x").status == 415


def test_only_a_valid_token_begins_a_session(make, store, monkeypatch) -> None:
    client = make()
    expired = store.create("expired", "admin", expires_in=0)
    revoked = store.create("revoked", "admin")
    store.revoke("revoked")
    for secret in ("", "mg_wrong", "x" * 90, expired, revoked):
        answer = client("POST", SIGN_IN_PATH, headers=FORM, body=secret.encode())
        assert answer.status == 401 and "set-cookie" not in answer.headers


def test_guessing_at_the_form_is_slowed_down(make, store) -> None:
    client = make(limits=GateLimits(failures_per_second=0.001, failure_burst=5))
    tries = [client("POST", SIGN_IN_PATH, headers=FORM, body=b"mg_guess").status for _ in range(8)]
    assert tries == [401] * 5 + [429] * 3


def test_the_cookie_is_for_this_server_alone_and_is_not_the_token(make, store) -> None:
    secret = store.create("phone", "read")
    for listener, secure in ((Listener(), False), (Listener(behind_proxy=True), True)):
        answer = make(listener=listener)("POST", SIGN_IN_PATH, headers=FORM, body=secret.encode())
        cookie = answer.headers["set-cookie"]
        assert all(part in cookie for part in ("; HttpOnly", "; SameSite=Strict", "; Path=/")), cookie
        assert ("; Secure" in cookie) is secure and "Domain" not in cookie
        assert secret not in cookie and secret.removeprefix("mg_") not in cookie
    one, other = (sign_in(make(), secret)[1].partition("=")[0] for _ in range(2))
    assert one != other  # a second server on this machine overwrites nothing


@pytest.mark.parametrize("how", ["revoked", "expired", "old", "signed out", "restarted"])
def test_a_session_ends(make, store, monkeypatch, how) -> None:
    client = make()
    session = sign_in(client, store.create("phone", "read", expires_in=1e6))
    assert client("GET", "/page", headers=(*TYPED, session)).status == 200
    if how == "revoked":
        store.revoke("phone")
    elif how == "expired":
        monkeypatch.setattr("mg_tui.gate.tokens.AccessToken.is_expired", lambda _self, _now: True)
    elif how == "old":
        monkeypatch.setattr(client.gate._sessions, "_clock", lambda: 1e12)
    elif how == "signed out":
        answer = client("POST", "/logout", headers=(*FORM, session))
        assert "Max-Age=0" in answer.headers["set-cookie"]
    else:
        client = make()
    assert client("GET", "/page", headers=(*TYPED, session)).status == 401


def test_two_cookies_of_the_name_are_none(make, store) -> None:
    client = make()
    name, value = sign_in(client, store.create("phone", "read"))
    assert client("GET", "/page", headers=(*TYPED, (name, f"{value}; other=x"))).status == 200
    assert client("GET", "/page", headers=(*TYPED, (name, f"{value}; {value}x"))).status == 401
    assert client("GET", "/page", headers=(*TYPED, (name, value), (name, f"{value}x"))).status == 401


def test_a_token_in_the_address_of_a_page_is_refused(make, store) -> None:
    secret = store.create("phone", "read")
    for path in ("/page", SIGN_IN_PATH):
        assert make()("GET", path, headers=TYPED, query=f"token={secret}".encode()).status == 400


def test_a_followed_page_ends_with_its_session(make_client, store) -> None:
    async def stream(scope, receive, send) -> None:
        if scope["path"] != "/page/live":
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        store.revoke("phone")
        await send({"type": "http.response.body", "body": b"two", "more_body": True})

    client = make_client(app=stream, rules=RULES)
    session = sign_in(client, store.create("phone", "read"))
    with pytest.raises(ConnectionAbortedError):
        client("GET", "/page/live", headers=(*SCRIPT, session))


def test_signing_in_is_in_the_audit_log_without_the_token(make, store) -> None:
    secret = store.create("phone", "read")
    session = sign_in(make(), secret)
    line = (store.home / "audit.jsonl").read_text()
    assert '"caller": "phone"' in line and '"path": "/login"' in line and '"status": 303' in line
    assert secret not in line and session[1] not in line


def test_the_oldest_session_ends_when_there_are_too_many(store) -> None:
    sessions = PageSessions(store, secure=False, clock=lambda: 0.0)
    store.create("phone", "read")
    (token,) = store.tokens()
    cookies = [sessions.start(token).partition(";")[0].encode() for _ in range(300)]
    found = [sessions.token_of({"headers": [(b"cookie", cookie)]}) for cookie in cookies]
    assert found == [None] * 44 + [token] * 256
    assert SESSION_SECONDS <= 24 * 3600


def test_a_page_that_would_change_something_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="only shows"):
        AccessRule("POST", "/page", "read", page=True)
