"""What the gate admits and refuses, by each thing that a request is made of."""

import asyncio
import json
import logging
import time

import pytest

from mg_tui.gate import GateLimits, Listener

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND")
PATHS = (
    "/things",
    "/things/a",
    "/things/a/events",
    "/v1/files",
    "/",
    "/docs",
    "/openapi.json",
    "/unknown",
    "/static/app.js",
    "/health/",
    "/Health",
    "/things/",
)


@pytest.mark.parametrize("path", PATHS)
def test_nothing_answers_without_a_token(make_client, path) -> None:
    call = make_client()
    for method in METHODS:
        answer = call(method, path)
        assert answer.status in (400, 401), (method, path, answer)
        assert b"reached" not in answer.body


def test_only_get_and_head_of_health_need_no_token(make_client) -> None:
    call = make_client()
    assert call("GET", "/health").json["caller"] is None
    assert call("HEAD", "/health").status == 200
    for method in set(METHODS) - {"GET", "HEAD"}:
        assert call(method, "/health").status == 401


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Bearer mg_wrong",
        "Basic YWRtaW46YWRtaW4=",
        "bearer\tmg_x",
        "Bearer " + "x" * 10_000,
        "Bearer mg_\xff\xfe",
        "Token mg_x",
    ],
)
def test_a_wrong_token_is_refused(make_client, store, authorization) -> None:
    store.create("real", "admin")
    answer = make_client()("GET", "/things", headers=[("Authorization", authorization)])
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_token_has_its_scope_until_it_expires_or_is_revoked(make_client, store, monkeypatch) -> None:
    call = make_client()
    reading, running, all_ = (store.create(scope, scope) for scope in ("read", "run", "admin"))
    body = {"body": b"{}", "headers": [("Content-Type", "application/json")]}
    assert [call("GET", "/things", token=token).status for token in (reading, running, all_)] == [200, 200, 200]
    assert [call("POST", "/things", token=token, **body).status for token in (reading, running, all_)] == [
        403,
        200,
        200,
    ]
    assert [call("DELETE", "/things/a", token=token).status for token in (reading, running, all_)] == [403, 403, 200]

    short = store.create("short", "read", expires_in=60)
    assert call("GET", "/things", token=short).json["caller"] == "short"
    later = time.time() + 61
    monkeypatch.setattr("mg_tui.gate.middleware.time.time", lambda: later)
    expired = call("GET", "/things", token=short)
    assert (expired.status, expired.json["type"]) == (401, "urn:model-garden:problem:token-expired")
    monkeypatch.undo()

    store.revoke("admin")
    assert call("GET", "/things", token=all_).status == 401


def test_two_authorization_headers_are_refused(make_client, store) -> None:
    token = store.create("one", "admin")
    assert make_client()("GET", "/things", token=token, headers=[("Authorization", "Bearer x")]).status == 401


def test_a_token_in_the_address_is_refused(make_client, store) -> None:
    token = store.create("one", "admin")
    for name in ("token", "access_token", "api_key", "key"):
        answer = make_client()("GET", "/things", query=f"{name}={token}".encode(), token=token)
        assert answer.status == 400
        assert token.encode() not in answer.body


def test_a_path_without_a_rule_does_not_exist_for_anybody(make_client, store) -> None:
    token = store.create("one", "admin")
    call = make_client()
    assert call("GET", "/unknown", token=token).status == 404
    assert call("GET", "/docs", token=token).status == 404
    answer = call("PUT", "/things", token=token)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        ("//things", None),
        ("/./things", None),
        ("/things/../things", None),
        ("/things/..", None),
        ("/things/a", b"/things%2fa"),
        ("/things/a", b"/things/%2e%2e/things/a"),
        ("/things/\x00", b"/things/%00"),
        ("/things/a\\b", b"/things/a%5cb"),
        ("things", None),
        ("/things/\n", b"/things/%0a"),
    ],
)
def test_a_path_that_parsers_disagree_about_is_refused(make_client, store, path, raw) -> None:
    token = store.create("one", "admin")
    answer = make_client()("GET", path, token=token, raw_path=raw)
    assert answer.status == 400
    assert b"reached" not in answer.body


@pytest.mark.parametrize("segment", [".hidden", "-x", "a b", "ä", "a" * 201, "%", "*", "~", "a;b", "a=b"])
def test_an_id_that_cannot_be_one_is_nothing(make_client, store, segment) -> None:
    token = store.create("one", "admin")
    assert make_client()("GET", f"/things/{segment}", token=token).status in (400, 404)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "", None, "localhost@evil", "127.0.0.2"]
)
def test_another_host_is_refused_everywhere(make_client, store, host) -> None:
    token = store.create("one", "admin")
    call = make_client()
    for method in METHODS:
        for path in ("/health", "/things", "/things/a/events", "/unknown"):
            assert call(method, path, host=host, token=token).status == 421, (method, path)


def test_two_host_headers_are_refused(make_client) -> None:
    assert make_client()("GET", "/health", headers=[("Host", "localhost")]).status == 421


def test_known_hosts(make_client) -> None:
    call = make_client(listener=Listener("0.0.0.0", behind_proxy=True, allowed_hosts=("Garden.example",)))
    assert call("GET", "/health", host="garden.example").status == 200
    assert call("GET", "/health", host="localhost:8000").status == 421
    assert call("GET", "/health", host="0.0.0.0:8000").status == 421
    call = make_client(listener=Listener())
    for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1"):
        assert call("GET", "/health", host=host).status == 200


@pytest.mark.parametrize(
    "header",
    [
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://localhost:8000"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-Fetch-Mode", "no-cors"),
    ],
)
def test_a_page_in_a_browser_is_refused_whatever_the_method(make_client, store, header) -> None:
    token = store.create("one", "admin")
    remote, local = make_client(), make_client(listener=Listener(), same_user=True)
    for method in METHODS:
        for path in ("/things", "/things/a", "/things/a/events", "/health"):
            assert remote(method, path, headers=[header], token=token).status == 403
            assert local(method, path, headers=[header]).status == 403


def test_a_process_of_the_same_user_needs_no_token_on_loopback(make_client, store) -> None:
    assert make_client(listener=Listener(), same_user=True)("GET", "/things").json["caller"] == "local"
    assert make_client(listener=Listener(), same_user=False)("GET", "/things").status == 401
    assert make_client(listener=Listener(behind_proxy=True), same_user=True)("GET", "/things").status == 401
    assert make_client(listener=Listener("10.0.0.1"), same_user=True)("GET", "/things", host="10.0.0.1").status == 401


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For", "X-Real-IP", "Via", "X-Forwarded-Host"])
def test_a_forwarded_request_needs_a_token_on_loopback(make_client, name) -> None:
    call = make_client(listener=Listener(), same_user=True)
    assert call("GET", "/things", headers=[(name, "203.0.113.9")]).status == 401


def test_on_loopback_a_token_of_ours_must_be_right_and_others_count_as_none(make_client, store) -> None:
    call = make_client(listener=Listener(), same_user=True)
    assert call("GET", "/things", token="sk-anything").json["caller"] == "local"
    assert call("GET", "/things", token="mg_wrong").status == 401
    assert call("GET", "/things", token=store.create("one", "read")).json["caller"] == "one"


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx", "", None],
)
def test_a_body_must_be_json(make_client, kind) -> None:
    call = make_client(listener=Listener(), same_user=True)
    headers = [] if kind is None else [("Content-Type", kind)]
    assert call("POST", "/things", body=b"{}", headers=headers).status == 415
    chunked = [*headers, ("Transfer-Encoding", "chunked")]
    assert call("POST", "/things", body=[b"{}"], headers=chunked).status == 415


def test_json_and_no_body_are_taken(make_client) -> None:
    call = make_client(listener=Listener(), same_user=True)
    json_type = [("Content-Type", "application/json; charset=utf-8")]
    assert call("POST", "/things", body=b"{}", headers=json_type).json["bytes"] == 2
    assert call("POST", "/things").json["bytes"] == 0
    form = [("Content-Type", "multipart/form-data; boundary=x")]
    assert call("POST", "/v1/files", body=b"abc", headers=form).json["bytes"] == 3
    assert call("POST", "/v1/files", body=b"abc", headers=json_type).status == 415


def test_a_long_body_is_refused_by_its_declared_and_by_its_real_length(make_client) -> None:
    call = make_client(listener=Listener(), same_user=True)
    json_type = ("Content-Type", "application/json")
    declared = call("POST", "/things", body=b"x", headers=[json_type, ("Content-Length", str(10**12))])
    assert declared.status == 413
    chunks = [b"x" * 500_000] * 4
    streamed = call("POST", "/things", body=chunks, headers=[json_type, ("Transfer-Encoding", "chunked")])
    assert streamed.status == 413
    assert b"reached" not in streamed.body
    form = [("Content-Type", "multipart/form-data; boundary=x"), ("Transfer-Encoding", "chunked")]
    assert call("POST", "/v1/files", body=chunks, headers=form).json["bytes"] == 2_000_000
    assert call("POST", "/things", body=b"x", headers=[json_type, ("Content-Length", "-1")]).status == 400


def test_a_body_that_takes_too_long_is_refused(make_client) -> None:
    call = make_client(listener=Listener(), same_user=True, limits=GateLimits(body_seconds=0.1))
    headers = [("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")]
    began = time.monotonic()
    assert call("POST", "/things", body=[b"{"], headers=headers, stall=True).status == 408
    assert time.monotonic() - began < 10


def test_a_caller_that_is_too_fast_is_told_to_wait_and_others_are_not(make_client, store) -> None:
    first, second = store.create("first", "read"), store.create("second", "read")
    call = make_client(limits=GateLimits(requests_per_second=0.01, burst=3))
    statuses = [call("GET", "/things", token=first).status for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    refused = call("GET", "/things", token=first)
    assert int(refused.headers["retry-after"]) > 0
    assert call("GET", "/things", token=second).status == 200


def test_guessing_tokens_is_slowed_down(make_client) -> None:
    call = make_client(limits=GateLimits(failures_per_second=0.01, failure_burst=3))
    assert [call("GET", "/things", token="mg_x").status for _ in range(5)] == [401, 401, 401, 429, 429]
    assert call("GET", "/things", token="mg_x", client=("10.0.0.9", 1)).status == 401


def test_followers_and_requests_at_once_are_counted_per_caller(make_client, store) -> None:
    token, other = store.create("one", "read"), store.create("two", "read")

    async def waiting_app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.05)
        await send({"type": "http.response.body", "body": b""})

    limits = GateLimits(followers=3, followers_per_caller=2, requests_at_once=9, requests_at_once_per_caller=1)
    client = make_client(app=waiting_app, limits=limits)

    async def calls(*what):
        listed = [
            client._call("GET", path, who, (), "localhost", b"", None, b"", ("127.0.0.1", 1), "http", False)
            for path, who in what
        ]
        return [answer.status for answer in await asyncio.gather(*listed)]

    events = "/things/a/events"
    assert asyncio.run(calls((events, token), (events, token), (events, token), ("/things", token))) == [
        200,
        200,
        429,
        200,
    ]
    assert asyncio.run(calls((events, token), (events, token), (events, other), (events, other))) == [
        200,
        200,
        200,
        429,
    ]
    assert asyncio.run(calls(("/things", token), ("/things", token))) == [200, 429]
    assert asyncio.run(calls((events, token))) == [200]  # places are given back


def test_a_failure_says_nothing_of_itself(make_client, store, caplog) -> None:
    token = store.create("one", "read")
    logging.getLogger("mg_tui.gate").propagate = True
    with caplog.at_level(logging.ERROR, "mg_tui.gate"):
        answer = make_client()("GET", "/broken", token=token)
    assert answer.status == 500
    assert b"secret" not in answer.body and b"ValueError" not in answer.body and b"0x7f" not in answer.body
    assert answer.headers["x-request-id"] in answer.json["detail"]
    assert answer.headers["x-request-id"] in caplog.text and "a secret" in caplog.text


def test_a_failure_in_the_middle_of_an_answer_closes_the_connection(make_client, store) -> None:
    token = store.create("one", "read")
    with pytest.raises(ConnectionAbortedError):
        make_client()("GET", "/half", token=token)


def test_errors_have_the_shape_of_the_path(make_client) -> None:
    call = make_client()
    problem = call("GET", "/things").json
    assert problem["type"].startswith("urn:model-garden:problem:")
    assert {"title", "status", "detail", "instance"} <= problem.keys()
    openai = call("POST", "/v1/files").json
    assert openai["error"]["type"] == "authentication_error"
    assert openai["error"]["code"] == "token-missing"


def test_every_answer_has_the_headers(make_client, store) -> None:
    token = store.create("one", "read")
    for answer in (make_client()("GET", "/things", token=token), make_client()("GET", "/things")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert len(answer.headers["x-request-id"]) == 16


def test_head_is_get_for_the_application(make_client, store) -> None:
    token = store.create("one", "read")
    assert make_client()("HEAD", "/things", token=token).json["method"] == "GET"
    assert make_client()("HEAD", "/things/a/events", token=token).status == 405


def test_a_websocket_is_closed(make_client) -> None:
    assert make_client()("GET", "/things", kind="websocket").status == 1008


def test_changes_are_written_down_without_secrets(make_client, store) -> None:
    token = store.create("one", "run")
    call = make_client()
    call("GET", "/things", token=token)
    call("POST", "/things", token=token, body=b'{"x": 1}', headers=[("Content-Type", "application/json")])
    call("DELETE", "/things/a", token=token)
    call("POST", "/things")
    file = store.home / "audit.jsonl"
    assert file.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["caller"], line["method"], line["path"], line["status"]) for line in lines] == [
        ("one", "POST", "/things", 200),
        ("one", "DELETE", "/things/a", 403),
        (None, "POST", "/things", 401),
    ]
    assert token not in file.read_text()


def test_unreadable_tokens_admit_nobody(make_client, store) -> None:
    token = store.create("one", "admin")
    store.file.chmod(0o644)
    # A change of mode alone is no change of content: make the store look again.
    store.file.write_text(store.file.read_text() + "\n")
    answer = make_client()("GET", "/things", token=token)
    assert answer.status == 503
    assert str(store.home).encode() not in answer.body
