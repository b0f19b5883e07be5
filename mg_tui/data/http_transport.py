"""HTTP connections to allowed addresses only, with one deadline for the whole request.

A socket timeout restarts with every byte: a server that sends one byte a second would hold a thread forever. Here each
read and write gets the time that remains until the deadline.
"""

import time
from collections.abc import Iterable
from functools import cache
from ssl import SSLContext
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import httpcore
import httpx

from mg_tui.data.addresses import ForbiddenAddress, resolve_allowed_addresses


class DeadlineExceeded(Exception):
    """The deadline of the request has passed."""


def open_connection_pool(url: str, deadline: float, *, allow_private: bool) -> httpcore.ConnectionPool:
    """A pool for one request.

    Args:
        url: the URL to request; decides whether a proxy from the environment is used.
        deadline: value of `time.monotonic()` by which the request must be complete.

    Raises:
        ForbiddenAddress: the host, requested through a proxy, resolves to a private address.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    context = _ssl_context() if "https" in (parts.scheme, proxy and urlsplit(proxy).scheme) else None
    if proxy is None or proxy_bypass(host):
        return httpcore.ConnectionPool(
            ssl_context=context, network_backend=_DeadlineBackend(deadline, check_addresses=not allow_private)
        )
    if not allow_private:
        _check_proxied_host(host, parts.port or 443)
    # The user's own proxy may be in a private network.
    return _open_proxy_pool(proxy, context, _DeadlineBackend(deadline, check_addresses=False))


def to_ascii_url(url: str) -> str:
    """The URL in ASCII: host in IDNA, path and query percent-encoded.

    Raises:
        ValueError: it is not a valid URL.
    """
    try:
        parsed = httpx.URL(url)
        return str(parsed.copy_with(host=parsed.raw_host.decode("ascii"), fragment=None))
    except (httpx.InvalidURL, TypeError) as error:
        raise ValueError(str(error)) from None


def _open_proxy_pool(proxy: str, context: SSLContext | None, backend: "_DeadlineBackend") -> httpcore.ConnectionPool:
    parsed = httpx.Proxy(proxy)
    if parsed.url.scheme not in ("http", "https"):
        raise ValueError(f"{parsed.url.scheme} proxies are not supported")
    return httpcore.HTTPProxy(str(parsed.url), proxy_auth=parsed.raw_auth, ssl_context=context, network_backend=backend)


@cache
def _ssl_context() -> SSLContext:
    return httpx.create_ssl_context()


def _check_proxied_host(host: str, port: int) -> None:
    try:
        resolve_allowed_addresses(host, port, allow_private=False)
    except OSError:
        return  # Only the proxy can resolve it.


class _DeadlineBackend(httpcore.NetworkBackend):
    """Connects to checked addresses and returns streams with the deadline."""

    def __init__(self, deadline: float, *, check_addresses: bool):
        self._inner = httpcore.SyncBackend()
        self._deadline = deadline
        self._check_addresses = check_addresses

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = resolve_allowed_addresses(host, port, allow_private=not self._check_addresses)
        for address in addresses:
            try:
                remaining = _remaining_time(self._deadline, timeout)
                return _DeadlineStream(
                    self._inner.connect_tcp(address, port, remaining, local_address, socket_options), self._deadline
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if address == addresses[-1]:
                    raise
        raise httpcore.ConnectError("the host name cannot be resolved")

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        raise ForbiddenAddress("points to a local socket")


class _DeadlineStream(httpcore.NetworkStream):
    """A stream whose reads and writes end at the deadline."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: float):
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _remaining_time(self._deadline, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _remaining_time(self._deadline, timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        remaining = _remaining_time(self._deadline, timeout)
        return _DeadlineStream(self._inner.start_tls(ssl_context, server_hostname, remaining), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _remaining_time(deadline: float, timeout: float | None) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise DeadlineExceeded
    return remaining if timeout is None else min(remaining, timeout)
