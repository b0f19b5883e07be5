"""What has been done to servers like this one, done to every route that the framework knows of."""

import itertools
import json
import time
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts

from mg_tui.api.access import RULES
from mg_tui.api.app import create_app
from mg_tui.gate import AccessRule
from mg_tui.gate.rules import RuleTable
from mg_tui.runs import launch
from tests.api.conftest import sign_in

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
OPEN = {("GET", "/health"), ("HEAD", "/health"), ("GET", "/login"), ("HEAD", "/login")}
FORMS = {("POST", "/login"), ("POST", "/logout")}  # of a page of this server only
PAGES = {(rule.method, rule.path) for rule in RULES if rule.page}
UNKNOWN = (
    "/docs",
    "/runs",
    "/login/x",
    "/favicon.ico",
    "/redoc",
    "/openapi.json",
    "/metrics",
    "/static/x.js",
    "/api",
    "/api/v1",
    "/api/v2/training/jobs",
)
# No route of this application, and what parsers make of them; paths with dots, which this client resolves itself, are
# in tests/gate.
DISGUISED = (
    "//api/v1/training/jobs",
    "/api/v1//training/jobs",
    "/api/v1/training/jobs/",
    "/API/v1/training/jobs",
    "/api/v1/training/jobs;x",
    "/health/",
    "/health%2f..%2fapi/v1/training/jobs",
    "/api/v1/training/jobs/%2e%2e/jobs",
    "/api/v1/training%2fjobs",
    "/api/v1/training/jobs%00",
    "/api/v1/training/jobs/..%5c..",
)


def routes_of(app) -> list[tuple[str, str]]:
    """Every method and path that the framework serves, by its own walker."""
    return [
        (method, str(context.path))
        for context in iter_route_contexts(app.routes)
        for method in sorted(getattr(context.route, "methods", None) or {"GET"})
    ]


def concrete(path: str) -> str:
    path = path.replace("{step}", "200")
    for name in ("job_id", "evaluation_id", "server_id", "file_id"):
        path = path.replace(
            f"{{{name}}}", "file-0123456789abcdef01234567" if name == "file_id" else "20261130-120000-aaaa"
        )
    return path


@pytest.fixture
def routes(garden):
    return routes_of(create_app(garden))


def test_every_route_has_a_rule_and_every_rule_a_route(routes) -> None:
    rules = {(rule.method, rule.path) for rule in RULES}
    served = {(method, path) for method, path in routes if method != "HEAD"}
    assert served - {("GET", "/health")} == rules
    assert len(rules) == len(RULES) >= 45


def test_a_new_route_without_a_rule_is_noticed_and_cannot_be_reached(garden) -> None:
    from starlette.testclient import TestClient

    from mg_tui.gate import Gate, Listener, TokenStore

    app = create_app(garden)

    @app.get("/api/v1/secret")
    def secret():
        return {"leaked": True}

    found = {(method, path) for method, path in routes_of(app) if method != "HEAD"}
    assert found - {(rule.method, rule.path) for rule in RULES} == {("GET", "/health"), ("GET", "/api/v1/secret")}
    gate = Gate(app, rules=RULES, tokens=TokenStore(garden.home), listener=Listener(), same_user=lambda _c, _s: True)
    with TestClient(gate, base_url="http://localhost") as client:
        assert client.get("/api/v1/secret").status_code == 404


def test_every_route_and_method_needs_a_valid_token(remote, routes, store) -> None:
    expired = store.create("expired", "admin", expires_in=0.01)
    revoked = store.create("revoked", "admin")
    store.revoke("revoked")
    time.sleep(0.02)
    bad = [
        {},
        {"Authorization": "Bearer mg_wrong"},
        {"Authorization": f"Bearer {expired}"},
        {"Authorization": f"Bearer {revoked}"},
        {"Authorization": f"Basic {expired}"},
        {"Cookie": f"token={expired}"},
        {"X-Api-Key": expired},
    ]
    paths = {concrete(path) for _method, path in routes} | set(UNKNOWN)
    for path, method, headers in itertools.product(sorted(paths), METHODS, bad):
        if (method, path) in OPEN:
            continue
        answer = remote.request(method, path, headers=headers)
        expected = 403 if (method, path) in FORMS else 401
        assert answer.status_code == expected, (method, path, headers, answer.text)
        assert len(answer.content) < 500
    in_query = remote.get("/api/v1/training/jobs", params={"token": expired})
    assert in_query.status_code == 400


@pytest.mark.parametrize("path", DISGUISED)
def test_a_disguised_path_reaches_nothing(remote, store, path) -> None:
    token = store.create("all", "admin")
    for method in METHODS:
        request = remote.build_request(method, "/")
        request.url = request.url.copy_with(raw_path=path.encode())
        without = remote.send(request)
        assert without.status_code in (400, 401), (method, path)
        request.headers["Authorization"] = f"Bearer {token}"
        assert remote.send(request).status_code in (400, 404), (method, path)


def test_a_scope_is_not_more_than_it_says(remote, routes, store) -> None:
    tokens = {scope: store.create(scope, scope) for scope in ("read", "run", "admin")}
    table = RuleTable(RULES)
    for method, path in routes:
        rule = table.find(method, concrete(path))
        if rule is None or rule.method == "GET" or rule.is_open:
            continue
        for scope, token in tokens.items():
            answer = remote.request(method, concrete(path), headers={"Authorization": f"Bearer {token}"})
            if (scope, rule.scope) == ("read", "run"):
                assert answer.status_code == 403, (method, path)
                detail = answer.json().get("detail") or answer.json()["error"]["message"]
                assert "needs a token with scope run" in detail
            else:
                assert answer.status_code != 403 and answer.status_code < 500, (method, path, scope, answer.text)


def test_a_foreign_host_or_origin_is_refused_on_every_route(client, routes) -> None:
    """DNS rebinding, and a page that calls localhost: without a token, from a browser of the same user."""
    paths = sorted({concrete(path) for _method, path in routes} | {"/health"})
    for path, method in itertools.product(paths, METHODS):
        assert client.request(method, path, headers={"Host": "evil.example"}).status_code == 421, (method, path)
        for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
            assert client.request(method, path, headers=headers).status_code == 403, (method, path, headers)


def test_a_form_of_a_page_is_no_body_on_any_route(client, routes) -> None:
    for method, path in routes:
        if method in ("GET", "HEAD") or path.endswith("/files") or (method, path) in FORMS:
            continue
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            answer = client.request(method, concrete(path), content=b"{}", headers={"Content-Type": kind})
            assert answer.status_code == 415, (method, path)


def test_pages_are_the_only_routes_for_browsers_and_only_show(routes) -> None:
    expected = {
        ("GET", "/"),
        ("GET", "/live"),
        ("GET", "/runs/{job_id}"),
        ("GET", "/runs/{job_id}/live"),
        ("GET", "/login"),
        *FORMS,
    }
    assert expected == PAGES and expected <= set(routes)
    assert {(rule.method, rule.path) for rule in RULES if rule.is_open} == {("GET", "/login"), *FORMS}


BROWSER = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}


def test_a_session_of_a_browser_opens_pages_and_no_other_route(remote, routes, store) -> None:
    """Every route and method: with the cookie alone, as a page of this server sends it, and as another page does."""
    remote.headers["Cookie"] = sign_in(remote, store.create("all", "admin"))
    table = RuleTable(RULES)
    paths = {concrete(path) for _method, path in routes} | set(UNKNOWN)
    followers = {rule.path for rule in RULES if rule.page and rule.follower}
    for path, method in itertools.product(sorted(paths), METHODS):
        rule = table.find(method, path)
        if rule is not None and (rule.page or path == "/health") and method in ("GET", "HEAD"):
            if rule.path not in followers and not rule.is_open:
                assert remote.request(method, path, headers=BROWSER).status_code in (200, 404), (method, path)
            for headers in (
                {**BROWSER, "Sec-Fetch-Site": "cross-site"},
                {**BROWSER, "Sec-Fetch-Site": "same-site"},  # another port of this machine
                {**BROWSER, "Sec-Fetch-Dest": "iframe"},
                {**BROWSER, "Sec-Fetch-Dest": "script"},
                {**BROWSER, "Origin": "http://localhost:3000"},
            ):
                assert remote.request(method, path, headers=headers).status_code == 403, (method, path, headers)
            continue
        if (method, path) in (*OPEN, *FORMS):
            continue
        assert remote.request(method, path).status_code == 401, (method, path)
        assert remote.request(method, path, headers=BROWSER).status_code == 403, (method, path)


def test_nothing_of_a_page_comes_from_elsewhere(remote, store) -> None:
    token = {"Authorization": f"Bearer {store.create('all', 'read')}"}
    for path in ("/", "/login", "/runs/20261130-120000-aaaa"):
        answer = remote.get(path, headers=token)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff" and "://" not in answer.text


BAD_PATHS = (
    "../secret.jsonl",
    "data/../../secret.jsonl",
    "/etc/passwd",
    "/proc/self/environ",
    "link.jsonl",
    "folder_link/secret.jsonl",
    "file:///etc/passwd",
    "\\\\server\\share\\x",
    "C:\\Windows\\win.ini",
    "data/rows.jsonl\x00.png",
    "x" * 5000,
    "~/.ssh/id_rsa",
    ".env",
    ".hidden/rows.jsonl",
    "http://169.254.169.254/latest/meta-data",
    "hub:owner/name",
)


@pytest.fixture
def secrets_outside(work, tmp_path):
    secret = tmp_path / "secret.jsonl"
    secret.write_text(json.dumps({"text": "top-secret-words", "image": "a.png", "response": "x"}) + "\n")
    (work / "link.jsonl").symlink_to(secret)
    (work / "folder_link").symlink_to(tmp_path)
    (work / ".env").write_text("PASSWORD=top-secret-words\n")
    (work / ".hidden").mkdir()
    (work / ".hidden" / "rows.jsonl").write_text(secret.read_text())
    return secret


@pytest.mark.parametrize("path", BAD_PATHS)
def test_no_path_leads_outside_the_roots(client, work, settings, secrets_outside, path) -> None:
    job = {"base_model": "tiny", "dataset": "data/rows.jsonl"}
    calls = [
        ("GET", "/api/v1/datasets/rows", {"params": {"dataset": path}}),
        ("GET", "/api/v1/datasets/rows", {"params": {"dataset": path, "dataset_format": "csv"}}),
        ("POST", "/api/v1/datasets/check", {"json": {"dataset": path}}),
        ("POST", "/api/v1/datasets/tokens", {"json": {"dataset": path}}),
        ("POST", "/api/v1/training/jobs", {"json": {**job, "dataset": path}}),
        ("POST", "/api/v1/training/jobs", {"json": {**job, "dataset": ["data/rows.jsonl", path]}}),
        ("POST", "/api/v1/training/jobs", {"json": {**job, "eval_dataset": path}}),
        ("POST", "/api/v1/training/jobs", {"json": {**job, "image_root": path}}),
        ("POST", "/api/v1/training/jobs", {"json": {**job, "output_dir": path}}),
        ("POST", "/api/v1/evaluations", {"json": {"model": "tiny", "dataset": path}}),
        ("POST", "/api/v1/models/merge", {"json": {"model": "last", "output": path}}),
        ("POST", "/api/v1/models/export", {"json": {"model": "last", "output": path, "format": "merged"}}),
        ("POST", "/api/v1/models/generate", {"json": {"model": "tiny", "prompt": "?", "images": [path]}}),
        ("POST", "/api/v1/models/serve", {"json": {"models": ["tiny"], "dataset": path}}),
        ("POST", "/api/v1/models/serve", {"json": {"models": ["x.gguf"], "mmproj": path}}),
        ("POST", "/api/v1/models/serve", {"json": {"models": ["tiny"], "tls_cert": path, "tls_key": path}}),
        ("POST", "/api/v1/estimate", {"json": {**job, "dataset": path}}),
    ]
    for method, route, values in calls:
        answer = client.request(method, route, **values)
        assert answer.status_code in (403, 422), (route, values, answer.status_code, answer.text)
        assert b"top-secret-words" not in answer.content and b"root:x:" not in answer.content
        assert str(secrets_outside).encode() not in answer.content, (route, answer.text)
    for kind in ("runs", "evaluations", "servers"):
        assert not (settings.home / kind).exists()


@pytest.mark.parametrize(
    "model", ["/etc", "../other", "./link_model", "~/models/x", "a/../../b", "/tmp/x@5", "./x@../../../other"]
)
def test_no_model_is_loaded_from_outside(client, work, tmp_path, model) -> None:
    (tmp_path / "other").mkdir()
    (work / "link_model").symlink_to(tmp_path / "other")
    (work / "x@..").mkdir()
    for route, body in (
        ("/api/v1/training/jobs", {"base_model": model, "dataset": "data/rows.jsonl"}),
        ("/api/v1/evaluations", {"model": model, "dataset": "data/rows.jsonl"}),
        ("/api/v1/models/generate", {"model": model, "prompt": "?", "images": ["a.png"]}),
        ("/api/v1/models/merge", {"model": model, "output": "out"}),
        ("/api/v1/models/serve", {"models": [model]}),
        ("/api/v1/models/serve", {"models": [f"name={model}"]}),
        ("/api/v1/models/serve", {"models": ["tiny"], "base_model": model}),
        ("/api/v1/datasets/tokens", {"dataset": "data/rows.jsonl", "base_model": model}),
    ):
        answer = client.post(route, json=body)
        assert answer.status_code == 403, (route, answer.text)


def test_rows_whose_images_lie_outside_are_refused(client, work, tmp_path, settings) -> None:
    from PIL import Image

    outside = tmp_path / "private.png"
    Image.new("RGB", (64, 64)).save(outside)
    (work / "sly.png").symlink_to(outside)
    for name in (str(outside), "../private.png", "sly.png", f"file://{outside}"):
        row = json.dumps({"text": "?", "image": name, "response": "x"})
        (work / "data" / "sly.jsonl").write_text(row + "\n")
        body = {"base_model": "tiny", "dataset": "data/sly.jsonl"}
        answer = client.post("/api/v1/training/jobs", json=body)
        assert answer.status_code == 403, answer.text
        skipping = client.post("/api/v1/training/jobs", json={**body, "on_bad_row": "skip"})
        assert skipping.status_code in (403, 422), skipping.text
        (shown,) = client.get("/api/v1/datasets/rows", params={"dataset": "data/sly.jsonl"}).json()["data"]
        assert "outside the allowed folders" in shown["problems"][0]["what"]
    assert not (settings.home / "runs").exists()


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:9/a.png",
        "http://169.254.169.254/a.png",
        "http://[::1]/a.png",
        "http://2130706433/a.png",
        "http://0/a.png",
    ],
)
def test_an_image_of_a_private_address_is_not_fetched(client, monkeypatch, address) -> None:
    monkeypatch.setenv("MODEL_GARDEN_ALLOW_PRIVATE_URLS", "1")  # the owner's, and not the caller's
    answer = client.post("/api/v1/models/generate", json={"model": "tiny", "prompt": "?", "images": [address]})
    assert answer.status_code == 422, answer.text
    assert "private or reserved" in answer.json()["detail"]


def test_what_runs_code_or_sends_data_needs_scope_admin(remote, store) -> None:
    headers = {"Authorization": f"Bearer {store.create('runner', 'run')}"}
    job = {"base_model": "tiny", "dataset": "data/rows.jsonl"}
    for route, body in (
        ("/api/v1/training/jobs", {**job, "trust_remote_code": True}),
        ("/api/v1/training/jobs", {**job, "report_to": ["wandb"]}),
        ("/api/v1/training/jobs", {**job, "nodes": 2, "rendezvous": "box:29500"}),
        ("/api/v1/evaluations", {"model": "x", "dataset": "data/rows.jsonl", "endpoint": "http://169.254.169.254/v1"}),
    ):
        answer = remote.post(route, json=body, headers=headers)
        assert answer.status_code == 403 and "needs scope admin" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("notify", ["https://hooks.example/x"]),
        ("sync", "./copies"),
        ("when_done", "touch done"),
    ],
)
def test_what_acts_outside_of_a_run_needs_scope_admin(remote, store, work, make_run, monkeypatch, field, value) -> None:
    """Messages, copies, commands and other machines: however a job is made, and from whatever job it is made again."""
    monkeypatch.setattr(launch, "start_waiter", lambda folder: 1)
    run, admin = ({"Authorization": f"Bearer {store.create(scope, scope)}"} for scope in ("run", "admin"))
    jobs, facade = "/api/v1/training/jobs", "/v1/fine_tuning/jobs"
    job = {"base_model": "tiny", "dataset": "data/rows.jsonl", "device": "cpu"}
    plain, owners = make_run(device="cpu"), make_run(device="cpu", **{field: value})
    files = {"file": ("a.jsonl", (work / "data/rows.jsonl").read_bytes())}
    uploaded = remote.post("/v1/files", files=files, data={"purpose": "fine-tune"}, headers=run).json()["id"]
    tuning = {"model": "tiny", "training_file": uploaded}
    ways = [
        (jobs, {**job, field: value}),
        (jobs, {**job, "hyperparameters": {field: value}}),
        (f"{jobs}/{plain.id}/rerun", {field: value}),
        (f"{jobs}/{owners.id}/rerun", {}),
        (facade, {**tuning, field: value}),
    ]
    for path, body in ways:
        answer = remote.post(path, json=body, headers=run)
        assert answer.status_code == 403 and f"{field}: acts outside of the run" in answer.text, (
            path,
            body,
            answer.text,
        )
    # These know no such field.
    hyperparameters = {"type": "supervised", "supervised": {"hyperparameters": {field: value}}}
    for path, body in (
        (f"{jobs}/{plain.id}/resume", {field: value}),
        (facade, {**tuning, "method": hyperparameters}),
        (facade, {**tuning, "metadata": {field: str(value)}}),
    ):
        for headers in (run, admin):
            assert remote.post(path, json=body, headers=headers).status_code in (400, 422), (path, body)
    assert len(list((store.file.parent / "runs").iterdir())) == 2
    for path, body in ways[:4]:
        answer = remote.post(path, json=body, headers=admin)
        assert answer.status_code == 201, (path, body, answer.text)
    # The rows of this upload name images that are not there, which is looked at last.
    assert remote.post(facade, json=ways[4][1], headers=admin).status_code == 422
    without: Any = {"notify": [], "sync": None, "when_done": None}
    assert remote.post(ways[3][0], json={field: without[field]}, headers=run).status_code == 201


def test_shell_words_are_only_words(client, work) -> None:
    name = "$(touch owned);`touch owned`|touch owned&"
    body = {"base_model": "tiny", "dataset": "data/rows.jsonl", "name": name, "output_dir": f"./{name}"}
    from mg_tui.runs.devices import DeviceLocks
    from tests.api.conftest import stop_everything

    home = client.app.app.state.garden.home
    locks = DeviceLocks(home)
    assert locks.take(["cpu"])
    try:
        answer = client.post("/api/v1/training/jobs", json={**body, "device": "cpu"})
        assert answer.status_code == 201, answer.text
        assert answer.json()["spec"]["name"] == name
        assert not list(work.rglob("owned")) and not list(home.rglob("owned"))
    finally:
        stop_everything(home)
        locks.release()


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"NaN", b'{"base_model": 1e999}', b""]
)
def test_json_that_is_none_is_a_plain_error(client, content) -> None:
    for route in ("/api/v1/training/jobs", "/api/v1/models/generate", "/v1/fine_tuning/jobs"):
        answer = client.post(route, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), (route, answer.text[:300])
        assert "Traceback" not in answer.text and "0x" not in answer.text


def test_ranges_of_a_file_are_bounded(client) -> None:
    made = client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", b"x" * 1000)}).json()
    path = f"/v1/files/{made['id']}/content"
    assert client.get(path).content == b"x" * 1000
    assert len(client.get(path, headers={"Range": "bytes=0-9"}).content) == 10
    began = time.monotonic()
    many = client.get(path, headers={"Range": "bytes=" + ",".join(f"{n}-{n}" for n in range(2000))})
    assert many.status_code in (200, 206, 400, 416) and len(many.content) < 2_000_000
    assert time.monotonic() - began < 10


def test_the_tokens_of_the_home_are_no_dataset(garden, settings, store, work) -> None:
    """Also where the home lies in a root."""
    from mg_tui.api.paths import AllowedPaths, PathForbidden

    store.make_first()
    paths = AllowedPaths([settings.home.parent], work, settings.home)
    for name in ("tokens.json", "first-token", "audit.jsonl", "recent.json", "idempotency/x"):
        with pytest.raises(PathForbidden):
            paths.require(str(settings.home / name), "dataset")
    assert paths.require(str(settings.home / "runs/x/model"), "model")


def test_texts_lose_paths_of_the_machine_and_no_addresses(garden, work) -> None:
    redact = garden.paths.redact
    assert redact("cannot read /etc/secret/file: no") == "cannot read (a path): no"
    assert redact("error:/etc/secret/file") == "error:(a path)"
    assert redact("file:///etc/secret/file") == "file://(a path)"
    assert redact(f"see {work.resolve()}/data/rows.jsonl") == f"see {work.resolve()}/data/rows.jsonl"
    assert redact("https://huggingface.co/a/b and 3/4") == "https://huggingface.co/a/b and 3/4"


def test_rules_match_whole_segments_only() -> None:
    table = RuleTable([AccessRule("GET", "/a/{id}/b", "read")])
    assert table.find("GET", "/a/x/b") is not None
    for path in ("/a/x/b/c", "/a//b", "/a/x/y/b", "/za/x/b", "/a/x/b\n"):
        assert table.find("GET", path) is None
