"""The server around a gate: addresses that are refused, deadlines of connections, the end."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.gate import AccessRule, Gate, GateLimits, Listener, TokenStore, check_listener, serve
from mg_tui.gate.peers import peer_user
from tests.gate.conftest import small_app

BIG = b"x" * (32 << 20)


async def _app(scope, receive, send) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["path"] == "/wait":  # until the caller leaves
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
    elif scope["path"] == "/big":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for at in range(0, len(BIG), 1 << 16):
            await send({"type": "http.response.body", "body": BIG[at : at + (1 << 16)], "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    else:
        await small_app(scope, receive, send)


LIMITS = GateLimits(head_seconds=0.5, stall_seconds=0.5, connections=20, body_seconds=0.5)


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """A server in a thread, with short deadlines."""
    gate = Gate(
        _app,
        rules=(
            AccessRule("GET", "/things", "read"),
            AccessRule("POST", "/things", "run"),
            AccessRule("GET", "/big", "read"),
            AccessRule("GET", "/wait", "read"),
        ),
        tokens=TokenStore(tmp_path_factory.mktemp("home")),
        listener=Listener(port=0),
        limits=LIMITS,
    )
    ready, addresses, done = threading.Event(), [], threading.Event()

    def announce(url: str) -> None:
        addresses.append(url)
        ready.set()

    thread = threading.Thread(
        target=serve,
        args=(gate, Listener(port=0)),
        kwargs={"limits": LIMITS, "on_ready": announce, "stop_when": done.is_set},
    )
    thread.start()
    assert ready.wait(20)
    yield int(addresses[0].rpartition(":")[2])
    done.set()
    thread.join(20)
    assert not thread.is_alive()


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.settimeout(20)
    return connection


def _closed_after(connection: socket.socket) -> float:
    began = time.monotonic()
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(65536):
            pass
    return time.monotonic() - began


def test_this_process_is_the_same_user(port) -> None:
    """Without a token, over a real connection: the kernel says who opened it."""
    answer = httpx.get(f"http://127.0.0.1:{port}/things")
    assert answer.json()["caller"] == "local"
    assert httpx.post(f"http://localhost:{port}/things", json={"a": 1}).json()["bytes"] > 0


def test_the_user_of_a_connection_is_known(port) -> None:
    with _connect(port) as connection:
        assert peer_user(connection.getsockname(), connection.getpeername()) == os.geteuid()
        name, peer = connection.getsockname(), connection.getpeername()
    assert peer_user(name, peer) is None  # closed: nobody's


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("asked", ["both", "the kernel", "its table"])
def test_the_user_of_a_connection_by_either_way(monkeypatch, host, asked) -> None:
    from mg_tui.gate import peers

    if asked != "both":
        monkeypatch.setattr(peers, "_user_by_table" if asked == "the kernel" else "_user_by_query", lambda *_: None)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server(("::1" if host == "::1" else "127.0.0.1", 0), family=_family_of(host)) as listening:
        with socket.socket(family) as connection:
            connection.connect((host, listening.getsockname()[1]))
            accepted, _address = listening.accept()
            with accepted:
                client, server = accepted.getpeername()[:2], accepted.getsockname()[:2]
                assert peer_user(client, server) == os.geteuid()
                assert peer_user(client, (server[0], 1)) is None  # nobody listens there
                connection.close()
                assert peer_user(client, server) is None  # the kernel keeps it for a while, as root's
        assert peer_user(client, server) is None  # closed


def _family_of(host: str) -> int:
    return socket.AF_INET6 if host == "::1" else socket.AF_INET


def test_an_answer_does_not_wait_for_the_acknowledgement_of_its_head() -> None:
    from mg_tui.gate.listener import open_socket

    async def accept() -> int:
        made = asyncio.get_running_loop().create_future()

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport) -> None:
                opened = transport.get_extra_info("socket")
                made.set_result(opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        listening = open_socket(Listener(port=0))
        async with await asyncio.get_running_loop().create_server(Protocol, sock=listening):
            _reader, writer = await asyncio.open_connection(*listening.getsockname())
            set_there = await made
            writer.close()
            return int(set_there)

    assert asyncio.run(accept()) == 1


def test_a_request_line_that_never_ends_is_cut_off(port) -> None:
    with _connect(port) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
        for _ in range(3):
            time.sleep(0.1)
            connection.sendall(b"X-A: b\r\n")  # a header now and then does not help
        assert _closed_after(connection) < 10


def test_a_connection_that_says_nothing_is_cut_off(port) -> None:
    with _connect(port) as connection:
        assert _closed_after(connection) < 10


def test_a_connection_is_used_again_and_then_cut_off(port) -> None:
    with _connect(port) as connection:
        for _ in range(2):
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while not answer.endswith(b"0\r\n\r\n"):
                answer += connection.recv(65536)
            assert b"200 OK" in answer
        assert _closed_after(connection) < 10


def test_headers_that_are_too_long_are_refused(port) -> None:
    with _connect(port) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000 + b"\r\n\r\n")
        head = connection.recv(65536)
        assert head.startswith(b"HTTP/1.1 400") and b"application/problem+json" in head


def test_bytes_that_are_no_request_are_answered(port) -> None:
    with _connect(port) as connection:
        connection.sendall(b"\x16\x03\x01 no http\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")


def test_a_body_that_trickles_is_cut_off(port) -> None:
    with _connect(port) as connection:
        connection.sendall(
            b"POST /things HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 900000\r\n\r\n{"
        )
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 408")
        assert _closed_after(connection) < 10


def test_a_gigabyte_is_not_read(port) -> None:
    with _connect(port) as connection:
        connection.sendall(
            b"POST /things HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000000000\r\n\r\n"
        )
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 1_000_000_000:
                sent += connection.send(b"x" * 65536)
        assert sent < 50_000_000


def test_a_reader_that_does_not_read_is_cut_off(port) -> None:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(20)
    with connection:
        connection.connect(("127.0.0.1", port))
        connection.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(1.5)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(1 << 20):
                received += len(part)
        assert received < len(BIG)


def test_too_many_connections_are_closed_and_the_others_served(port) -> None:
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(_connect(port)) for _ in range(60)]
        closed = 0
        for connection in crowd:
            connection.settimeout(0.05)
            try:
                closed += connection.recv(1) == b""
            except TimeoutError:
                pass
            except ConnectionResetError:
                closed += 1
        assert closed >= 30
    deadline = time.monotonic() + 20
    while True:  # the places are free again
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                return
        assert time.monotonic() < deadline


def test_a_crowd_that_says_nothing_keeps_nobody_out(port) -> None:
    """The connection that waits longest makes place; one in use does not."""
    with _connect(port) as used, contextlib.ExitStack() as stack:
        used.sendall(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert used.recv(65536).startswith(b"HTTP/1.1 200")
        for _ in range(3):
            crowd = [stack.enter_context(_connect(port)) for _ in range(LIMITS.connections)]
            for connection in crowd[::2]:
                connection.sendall(b"GET /health HTTP/1.1\r\nX-A: ")
            assert httpx.get(f"http://127.0.0.1:{port}/things").status_code == 200
        used.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            while part := used.recv(65536):
                assert b"x" in part
            pytest.fail("the connection in use was closed")


def test_when_every_connection_is_in_use_another_is_answered_and_closed(port) -> None:
    def is_free() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
        return False

    with contextlib.ExitStack() as stack:
        for _ in range(LIMITS.connections):
            connection = stack.enter_context(_connect(port))
            connection.sendall(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        with _connect(port) as one_more:
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while part := one_more.recv(65536):
                    answer += part
        assert answer.startswith(b"HTTP/1.1 503") and b"retry-after: 2" in answer
        assert b"too-many-connections" in answer
    deadline = time.monotonic() + 60
    while not is_free():
        assert time.monotonic() < deadline


def test_a_websocket_upgrade_is_no_way_in(port) -> None:
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "x" * 22 + "==",
        "Origin": "http://a",
    }
    assert httpx.get(f"http://127.0.0.1:{port}/things", headers=headers).status_code == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "garden.example"])
def test_an_open_address_without_tls_is_refused(host) -> None:
    with pytest.raises(UsageError, match="without TLS"):
        check_listener(Listener(host))
    check_listener(Listener(host, behind_proxy=True, allowed_hosts=("garden.example",)))


def test_a_wildcard_needs_a_name(tmp_path) -> None:
    with pytest.raises(UsageError, match="--allow-host"):
        check_listener(Listener("0.0.0.0", behind_proxy=True))


def test_half_a_key_pair_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match="belong together"):
        check_listener(Listener(tls_cert=tmp_path))
    with pytest.raises(EnvironmentProblem, match="no such file"):
        check_listener(Listener("0.0.0.0", tls_cert=tmp_path / "a", tls_key=tmp_path / "b", allowed_hosts=("x",)))


def test_a_taken_port_is_named(port) -> None:
    with pytest.raises(EnvironmentProblem, match=str(port)):
        serve(_app, Listener(port=port), on_ready=print)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_quickly_even_with_a_request_under_way(stop, tmp_path) -> None:
    script = tmp_path / "server.py"
    script.write_text(
        "import sys\n"
        "from tests.gate.test_serving import _app\n"
        "from mg_tui.gate import Listener, serve\n"
        "serve(_app, Listener(port=0), on_ready=lambda url: print(url, flush=True))\n"
        "print('ended', flush=True)\n"
    )
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert process.stdout is not None
    port = int(process.stdout.readline().rpartition(":")[2])
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with connection:
        connection.connect(("127.0.0.1", port))
        connection.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.3)
        process.send_signal(stop)
        output, _ = process.communicate(timeout=20)
    assert "ended" in output
    assert process.returncode == 0
