"""Thousands of connections that say nothing, or little, beside a caller with a question."""

import contextlib
import itertools
import resource
import select
import socket
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.api.conftest import Server, start_server, stop_everything, wait_for

JOBS = "/api/v1/training/jobs"
_PIECE = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: "


class Crowd:
    """Connections to a server. Every other one begins a request and sends a byte of it now and then."""

    def __init__(self, server: Server):
        self._address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        self._open: list[socket.socket] = []
        self.refused = 0

    def grow(self, count: int) -> None:
        for number in range(count):
            connection = socket.socket()
            connection.settimeout(10)
            try:
                connection.connect(self._address)
                if number % 2:
                    connection.send(_PIECE)
            except OSError:
                connection.close()
                self.refused += 1
            else:
                connection.setblocking(False)
                self._open.append(connection)

    def trickle(self) -> int:
        """Send a byte on every other connection, and return how many are still open."""
        for connection in self._open[1::2]:
            with contextlib.suppress(OSError):
                connection.send(b"x")
        poll = select.poll()
        for connection in self._open:
            poll.register(connection, select.POLLIN)
        return len(self._open) - len(poll.poll(0))

    def leave(self) -> None:
        for connection in self._open:
            connection.close()
        self._open.clear()


@contextlib.contextmanager
def crowded(tmp_path, descriptors: int | None) -> Iterator[tuple[Server, Crowd, psutil.Process]]:
    (tmp_path / "work").mkdir()
    server = start_server(tmp_path / "home", tmp_path / "work", descriptors=descriptors)
    crowd = Crowd(server)
    try:
        yield server, crowd, psutil.Process(server.process.pid)
    finally:
        crowd.leave()
        server.kill()
        stop_everything(server.home)


def _ask(server: Server) -> float:
    """Ask as a person would, with a new connection for each question; returns the seconds of the slower one."""
    slowest = 0.0
    for path in ("/health", JOBS):
        began = time.monotonic()
        answer = httpx.get(f"{server.url}{path}", timeout=30)
        slowest = max(slowest, time.monotonic() - began)
        assert answer.status_code == 200 or (answer.status_code == 503 and "retry-after" in answer.headers), answer
    return slowest


def test_more_connections_than_descriptors(tmp_path) -> None:
    with crowded(tmp_path, 256) as (server, crowd, process):
        before = process.num_fds()
        for _ in range(4):
            crowd.grow(150)
            _ask(server)
            assert process.num_fds() <= 200  # the rest is for journals, logs and images
        crowd.leave()
        wait_for(lambda: process.num_fds() <= before + 8)
        _ask(server)
        said = server.end()
    assert "Traceback" not in said and len(said.splitlines()) < 5, said


def test_descriptors_that_are_used_up_do_not_fill_the_log(tmp_path) -> None:
    """By something else than connections: the server says it once, and accepts again when there are some."""
    with crowded(tmp_path, 256) as (server, crowd, process):
        crowd.grow(1)
        pid = process.pid
        taken = process.num_fds()
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE, (taken, 256))
        crowd.grow(30)
        cpu = sum(process.cpu_times()[:2])
        assert crowd.trickle() >= 25  # the kernel holds them
        time.sleep(3)
        spent = sum(process.cpu_times()[:2]) - cpu
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        crowd.leave()
        wait_for(lambda: _answers(server))
        said = server.end()
    assert said.count("no connection is accepted for a second") == 1 and "Traceback" not in said, said
    assert spent < 2.0  # of 3 seconds: it waits, and does not try again and again


def _answers(server: Server) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{server.url}/health", timeout=10).status_code == 200
    return False


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_thousand_connections(tmp_path) -> None:
    """Half of them idle, half of them slow; they come again for half a minute."""
    wanted = 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted + 500:
        pytest.skip(f"this machine allows {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 500), hard))
    try:
        with crowded(tmp_path, None) as (server, crowd, process):
            _ask(server)
            memory, files, most, slowest = process.memory_info().rss, process.num_fds(), 0, []
            for _ in range(20):
                crowd.grow(wanted // 20)
                slowest.append(_ask(server))
            for number in itertools.count():
                still_open = crowd.trickle()
                slowest.append(_ask(server))
                most = max(most, process.memory_info().rss)
                assert process.num_fds() <= files + 1024 + 64
                if number >= 15 and still_open == 0:
                    break
                time.sleep(1)
            crowd.leave()
            wait_for(lambda: process.num_fds() <= files + 8)
            _ask(server)
            after = process.memory_info().rss
            print(
                f"{wanted} connections, {crowd.refused} not accepted; the slowest answer took {max(slowest):.2f} s; "
                f"memory {memory >> 20} MiB before, at most {most >> 20}, {after >> 20} after"
            )
            assert max(most, after) - memory < 200 << 20
            said = server.end()
        assert "Traceback" not in said and len(said.splitlines()) < 5, said
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
