"""Whatever can be wrong with a server is one error: what, where, why, what to try."""

import http.server
import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner

from mg_tui.cli.main import cli
from mg_tui.core.errors import UsageError
from mg_tui.gate import TokenStore
from mg_tui.remote.address import find_token, parse_server_url, require_private
from mg_tui.remote.garden import RemoteGarden
from tests.api.conftest import free_port


def problem(url: str, *arguments: str, **environ: str) -> str:
    """The error of `runs list` with a server."""
    result = CliRunner(env=environ).invoke(cli, ["--server", url, *arguments, "runs", "list"])
    assert result.exit_code == 1 and hasattr(result.exception, "lines"), (result.output, result.exception)
    return str(result.exception)


Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@pytest.fixture
def fake() -> Iterator[Callable[[Answer], str]]:
    """A server that answers everything in one way."""
    servers = []

    def start(answer: Answer) -> str:
        methods = {"do_GET": answer, "do_POST": answer, "log_message": lambda *_arguments: None}
        handler = type("Handler", (http.server.BaseHTTPRequestHandler,), methods)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def send(handler, status: int, body: object, kind: str = "application/json", **headers: str) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data)


def refusal(status: int, code: str, detail: str) -> dict:
    return {"type": f"urn:model-garden:problem:{code}", "title": "x", "status": status, "detail": detail}


def test_nothing_listens() -> None:
    text = problem(f"http://127.0.0.1:{free_port()}")
    assert "Nothing listens at this address" in text and "model-garden api" in text and "ssh -N -L" in text


def test_no_such_host() -> None:
    assert "There is no host 'no-such-host.invalid'" in problem("https://no-such-host.invalid")


def test_something_that_is_no_model_garden(fake) -> None:
    page = fake(lambda handler: send(handler, 200, b"<html>hello</html>", "text/html"))
    assert "not Model Garden" in problem(page) and "sends no events" in problem(page)
    assert "it redirects" in problem(fake(lambda handler: send(handler, 302, b"", Location="http://evil.example/")))
    assert "HTTP 404" in problem(fake(lambda handler: send(handler, 404, {"detail": "Not Found"})))
    stream = b"event: garden\ndata: [1]\n\n"
    assert "cannot be read" in problem(fake(lambda handler: send(handler, 200, stream, "text/event-stream")))
    stream = b"event: jobs\ndata: {oops\n\n"
    assert "not JSON" in problem(fake(lambda handler: send(handler, 200, stream, "text/event-stream")))


def test_something_that_does_not_speak_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            connection.recv(1000)
            connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        assert "does not speak HTTP" in problem(f"http://127.0.0.1:{listening.getsockname()[1]}")


def test_an_older_server_and_another_protocol(fake) -> None:
    def old(handler) -> None:
        if handler.path.endswith("/health"):
            send(handler, 200, {"status": "ok", "version": "0.2.0"})
        else:
            send(handler, 404, refusal(404, "no-such-path", "There is nothing at this path."))

    text = problem(fake(old))
    assert "Model Garden 0.2.0, which cannot be followed" in text and "same version" in text
    stream = b'event: garden\ndata: {"protocol": 99, "version": "9.9.9", "home": "/x", "lifetime": {}}\n\n'
    assert "Model Garden 9.9.9" in problem(fake(lambda handler: send(handler, 200, stream, "text/event-stream")))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("token-missing", "The server wants a token"),
        ("token-unknown", "does not know this token"),
        ("token-expired", "has expired"),
    ],
)
def test_tokens(fake, code, words) -> None:
    text = problem(fake(lambda handler: send(handler, 401, refusal(401, code, "Send a token."))))
    assert words in text and "MODEL_GARDEN_TOKEN" in text and "--token-file" in text


def test_a_name_that_the_server_does_not_answer_to(fake) -> None:
    text = problem(fake(lambda handler: send(handler, 421, refusal(421, "wrong-host", "The Host header."))))
    assert "does not answer under this name" in text and "--allow-host 127.0.0.1" in text


def test_a_server_that_fails_or_has_too_much_to_do(fake) -> None:
    assert "failed: request 7" in problem(
        fake(lambda handler: send(handler, 500, refusal(500, "internal-error", "failed: request 7")))
    )
    busy = fake(lambda handler: send(handler, 429, refusal(429, "too-fast", "Too many."), **{"Retry-After": "3"}))
    assert "wait 3 s" in problem(busy)
    assert "of a proxy" in problem(fake(lambda handler: send(handler, 502, b"bad gateway", "text/html")))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    made = subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1", *files], capture_output=True)
    if made.returncode:
        pytest.skip("needs openssl")
    return folder


def test_tls(box, certificate, laptop) -> None:
    text = problem(box.url.replace("http://", "https://"))
    assert "does not speak TLS" in text and "http://" in text
    from tests.api.conftest import start_server

    flags = ["--tls-cert", str(certificate / "cert.pem"), "--tls-key", str(certificate / "key.pem")]
    server = start_server(laptop / "tls-home", laptop, *flags)
    try:
        assert "certificate is not trusted" in problem(server.url) and "self-signed" in problem(server.url)
        text = problem(server.url.replace("https://", "http://"))
        assert "connection was lost" in text and "https://" in text
        trusted = CliRunner(env={"SSL_CERT_FILE": str(certificate / "cert.pem")})
        assert trusted.invoke(cli, ["--server", server.url, "runs", "list", "--json"]).stdout == "[]\n"
    finally:
        server.end()


def test_tokens_of_a_real_server(box, laptop, monkeypatch) -> None:
    assert "does not know this token" in problem(box.url, MODEL_GARDEN_TOKEN="mg_wrong")
    secret = TokenStore(box.home).create("laptop", "read")
    file = laptop / "token"
    file.write_text(f"{secret}\n")
    listed = CliRunner().invoke(cli, ["--server", box.url, "--token-file", str(file), "runs", "list", "--json"])
    assert listed.exit_code == 0 and json.loads(listed.stdout)
    (laptop / "own.toml").write_text(f'[server]\ntoken_file = "{file}"\n')
    stopped = CliRunner().invoke(cli, ["--server", box.url, "runs", "stop", "invoices-v2"])
    assert "needs a token with scope run; yours has read" in str(stopped.exception)
    assert "tokens create NAME --scope run" in str(stopped.exception)
    TokenStore(box.home).revoke("laptop")
    assert "does not know this token" in problem(box.url)
    made = [path for path in laptop.rglob("*") if path.is_file() and path != file]
    assert made and not any(secret.encode() in path.read_bytes() for path in made)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("box", "expected a URL with http or https"),
        ("ftp://box", "expected a URL with http or https"),
        ("http://", "expected a URL with http or https"),
        ("http://box:99999", "not a URL"),
        ("http://[::1", "not a URL"),
        ("http://127.0.0.1:8000/?token=mg_x", "expected only scheme, host and port"),
        ("http://127.0.0.1:8000/a b", "expected only scheme, host and port"),
    ],
)
def test_addresses_that_are_none(url, words) -> None:
    assert words in problem(url)


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    text = problem("http://me:mg_secret@127.0.0.1:8000")
    assert "no name or password" in text and "mg_secret" not in text


def test_nothing_crosses_a_network_in_the_clear() -> None:
    text = problem("http://192.0.2.7:8000", MODEL_GARDEN_TOKEN="mg_x")
    assert "in the clear" in text and "ssh -N -L 8000:127.0.0.1:8000 192.0.2.7" in text
    for url in ("http://127.0.0.1:8000", "http://localhost", "http://[::1]:1", "https://box.example"):
        require_private(parse_server_url(url), "mg_x")


def test_parts_of_an_address() -> None:
    for text in ("http://127.0.0.1:8000", "http://127.0.0.1:8000/", "http://127.0.0.1:8000/api/v1"):
        assert parse_server_url(text).url == "http://127.0.0.1:8000"
    assert parse_server_url("https://box.example/garden/api/v1").url == "https://box.example/garden"
    assert parse_server_url("http://[::1]:8000").url == "http://[::1]:8000"


def test_where_the_token_is_from(tmp_path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("mg_one\n")
    two.write_text("mg_two")
    assert find_token(None, None, {}) is None
    assert find_token(one, str(two), {"MODEL_GARDEN_TOKEN": "mg_three"}) == "mg_one"
    assert find_token(None, str(two), {"MODEL_GARDEN_TOKEN": "mg_three"}) == "mg_three"
    assert find_token(None, str(two), {}) == "mg_two"
    for bad in (b"", b"two words", "ümlaut".encode(), b"x" * 5000, b"a\x00b", b"a\nb"):
        one.write_bytes(bad)
        with pytest.raises(UsageError, match="no token"):
            find_token(one, None, {})
    with pytest.raises(UsageError, match="cannot be read"):
        find_token(tmp_path / "none", None, {})


def test_flags_that_do_not_go_together(box) -> None:
    result = CliRunner().invoke(cli, ["--server", box.url, "--home", "/x", "runs", "list"])
    assert "--home and --server cannot be combined" in str(result.exception)
    result = CliRunner().invoke(cli, ["--token-file", "x", "runs", "list"])
    assert "--token-file is for --server" in str(result.exception)


def test_a_failed_start_leaves_nothing_registered(fake, tmp_path) -> None:
    from mg_tui.runs import elsewhere

    before = dict(elsewhere._BY_HOME)
    url = fake(lambda handler: send(handler, 401, refusal(401, "token-missing", "Send a token.")))
    for _ in range(2):
        with pytest.raises(Exception, match="wants a token"):
            RemoteGarden.open(url, tmp_path)
    assert before == elsewhere._BY_HOME
