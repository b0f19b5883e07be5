"""Thousands of connections that say nothing, or little: memory stays bounded, and whoever asks is answered."""

import contextlib
import resource
import selectors
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.api.conftest import Server, start_server, wait_for

CROWD = 10_000
MEBIBYTE = 1 << 20
JOBS = "/api/v1/training/jobs"
HALF_A_HEAD = b"GET /api/v1/training/jobs HTTP/1.1\r\nHost: localhost\r\nX-A: "


@contextlib.contextmanager
def _open_files(wanted: int) -> Iterator[None]:
    """Let this process have so many open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this process may have {hard} open files; the test needs {wanted}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _crowd(stack: contextlib.ExitStack, url: str, size: int) -> list[socket.socket]:
    """Connections of which every other has sent half a head."""
    host, port = url.removeprefix("http://").split(":")
    crowd = []
    for number in range(size):
        connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
        if number % 2:
            with contextlib.suppress(ConnectionError):
                connection.sendall(HALF_A_HEAD)
        crowd.append(connection)
    return crowd


def _count_open(crowd: list[socket.socket]) -> int:
    """How many the server has not closed. Nothing is sent to them, so all that can be read is their end."""
    with selectors.DefaultSelector() as selector:
        for connection in crowd:
            selector.register(connection, selectors.EVENT_READ)
        return len(crowd) - len(selector.select(0))


def _asks(url: str) -> None:
    """An honest caller: the address of the process, and a list, each on a connection of its own."""
    for path in ("/health", f"{JOBS}?limit=5"):
        assert httpx.get(f"{url}{path}", timeout=30).status_code == 200


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_thousand_connections_stop_nobody(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    server = start_server(tmp_path / "home", tmp_path / "work")
    process = psutil.Process(server.process.pid)
    try:
        _asks(server.url)
        memory, files = process.memory_info().rss, process.num_fds()
        with _open_files(CROWD + 500), contextlib.ExitStack() as stack:
            crowd = []
            for _ in range(10):
                crowd += _crowd(stack, server.url, CROWD // 10)
                _asks(server.url)
            assert len(crowd) == CROWD
            assert 0 < _count_open(crowd) <= 1024
            assert process.num_fds() <= 1024 + files + 200
            grown = process.memory_info().rss - memory
            assert grown < 150 * MEBIBYTE, grown
            wait_for(lambda: _count_open(crowd) == 0, 60)  # the deadline of a head
            _asks(server.url)
            began = sum(process.cpu_times()[:2])
            time.sleep(3)
            assert sum(process.cpu_times()[:2]) - began < 2  # it waits and does not spin
        wait_for(lambda: process.num_fds() <= files + 5, 60)
        print(f"{CROWD} connections: {grown / MEBIBYTE:.0f} MiB more")
        _asks(server.url)
    finally:
        said = server.end()
    assert "Traceback" not in said and "system resource" not in said, said


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_few_open_files_are_enough(tmp_path: Path) -> None:
    """A server that may have 500 open files, and 1,500 connections: it never runs out of descriptors."""
    (tmp_path / "work").mkdir()
    server: Server = start_server(tmp_path / "home", tmp_path / "work", files=500)
    process = psutil.Process(server.process.pid)
    assert process.rlimit(psutil.RLIMIT_NOFILE) == (500, 500)
    try:
        with _open_files(2500), contextlib.ExitStack() as stack:
            crowd = []
            for _ in range(5):
                crowd += _crowd(stack, server.url, 300)
                _asks(server.url)
                assert process.num_fds() < 500
            assert 0 < _count_open(crowd) <= 500
    finally:
        said = server.end()
    assert "Traceback" not in said and "system resource" not in said, said
