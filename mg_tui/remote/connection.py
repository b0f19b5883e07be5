"""Requests to a server: JSON in and out, and streams of server-sent events; with the standard library alone.

No redirect is followed and no proxy of the environment is used: the token goes to the named server only.
"""

import contextlib
import http.client
import json
import socket
import ssl
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from mg_tui import __version__
from mg_tui.core.errors import GardenError
from mg_tui.remote.address import ServerAddress
from mg_tui.remote.problems import ServerProblem, explain_answer, explain_failure, not_a_garden

API: Final = "/api/v1"
REQUEST_SECONDS: Final = 30.0  # seconds that an answer may take; checks of datasets may take longer
_CONNECT_TIMEOUT: Final = 10.0
_MAX_ANSWER: Final = 256 << 20  # bytes
_MAX_ERROR: Final = 256 << 10
_MAX_LINE: Final = 64 << 20  # of an event: a list of very many jobs
_FAILURES: Final = (OSError, http.client.HTTPException)


class ApiConnection:
    """A connection to one server; used by one thread at a time, kept open between requests."""

    def __init__(self, address: ServerAddress, token: str | None, *, timeout: float = REQUEST_SECONDS):
        self.address = address
        self._token, self._timeout = token, timeout
        self._open: http.client.HTTPConnection | None = None
        self._socket: socket.socket | None = None  # of the newest request; the connection may give it to the answer

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """The JSON at a path below `/api/v1`. `query`: values; lists are repeated.

        Raises:
            ServerProblem: the server cannot be reached or understood.
            ServerRefusal: it refuses.
        """
        return self._json("GET", path, query=query)

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Post JSON and return the answer's. Raises as `get`."""
        return self._json("POST", path, body=body, headers=headers)

    def delete(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Delete. Raises as `get`."""
        return self._json("DELETE", path, query=query)

    def close(self) -> None:
        """Close the connection; a request opens another."""
        connection, self._open = self._open, None
        if connection is not None:
            connection.close()

    def __enter__(self) -> "ApiConnection":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _json(self, method: str, path: str, **what: Any) -> Any:
        again = self._open is not None and method == "GET"  # a kept connection may have been closed meanwhile
        try:
            return self._exchange(method, path, **what)
        except ServerProblem as error:
            if not (again and error.passing and isinstance(error.__cause__, _FAILURES)):
                raise
        return self._exchange(method, path, **what)

    def _exchange(self, method: str, path: str, **what: Any) -> Any:
        try:
            with self._send(method, path, **what) as response:
                data = response.read(_MAX_ANSWER + 1)
        except _FAILURES as error:
            self.close()
            raise explain_failure(error, self.address) from error
        except BaseException:
            self.close()
            raise
        if len(data) > _MAX_ANSWER:
            self.close()
            raise not_a_garden(self.address, "its answer is too long")
        if not 200 <= response.status < 300:
            raise explain_answer(self.address, response.status, _lowered(response), data[:_MAX_ERROR])
        return self._decoded(response, data)

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        connection = self._open
        if connection is None or connection.sock is None:
            connection = self._open = _connect(self.address)
        self._socket = connection.sock
        assert self._socket is not None
        self._socket.settimeout(self._timeout)
        url = f"{self.address.prefix}{API}{quote(path)}" + (f"?{urlencode(query, doseq=True)}" if query else "")
        data = None if method == "GET" or method == "DELETE" else json.dumps(body or {}).encode()
        sent = {"Accept-Encoding": "gzip", "User-Agent": f"model-garden/{__version__}", **(headers or {})}
        if data is not None:
            sent["Content-Type"] = "application/json"
        if self._token is not None:
            sent["Authorization"] = f"Bearer {self._token}"
        connection.request(method, url, data, sent)
        return connection.getresponse()

    def _decoded(self, response: http.client.HTTPResponse, data: bytes) -> Any:
        if response.status == 204 or not data:
            return None
        try:
            if response.headers.get("Content-Encoding") == "gzip":
                data = _unpacked(data)
            return json.loads(data)
        except (ValueError, OSError, EOFError, zlib.error, RecursionError):
            raise not_a_garden(self.address, "its answer is not JSON") from None

    # --- streams

    def follow(self, path: str, *, silence: float) -> "EventStream":
        """Follow server-sent events. `silence`: seconds without any that count as a lost connection.

        Raises as `get`.
        """
        try:
            response = self._send("GET", path, headers={"Accept": "text/event-stream", "Accept-Encoding": "identity"})
            if response.status != 200:
                with response:
                    data = response.read(_MAX_ERROR)
                raise explain_answer(self.address, response.status, _lowered(response), data)
        except _FAILURES as error:
            self.close()
            raise explain_failure(error, self.address) from error
        except GardenError:
            self.close()
            raise
        if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
            response.close()
            self.close()
            raise not_a_garden(self.address, "it sends no events")
        assert self._socket is not None
        self._socket.settimeout(silence)
        return EventStream(self, response, self._socket)


class EventStream:
    """The events of one answer."""

    def __init__(self, connection: ApiConnection, response: http.client.HTTPResponse, opened: socket.socket):
        self._connection, self._response, self._socket = connection, response, opened
        self._closed = threading.Event()

    def events(self) -> Iterator[tuple[str, Any]]:
        """Kind and data of each event, until the server ends the stream.

        Raises:
            ServerProblem: the connection was lost, or an event is none.
        """
        kind, parts = "message", list[bytes]()
        while True:
            try:
                raw = self._response.readline(_MAX_LINE)
            except (*_FAILURES, AttributeError, ValueError) as error:  # the last two: closed by another thread
                if self._closed.is_set():
                    return
                cause = error if isinstance(error, _FAILURES) else OSError("closed")
                raise explain_failure(cause, self._connection.address) from error
            if not raw:
                return
            name, _, value = raw.rstrip(b"\r\n").partition(b":")
            value = value.removeprefix(b" ")
            if name == b"event":
                kind = value.decode("utf-8", "replace")
            elif name == b"data":
                parts.append(value)
            elif not name and not value and parts:
                yield kind, self._parse(parts)
                kind, parts = "message", []

    def _parse(self, parts: Sequence[bytes]) -> Any:
        try:
            return json.loads(b"\n".join(parts))
        except (ValueError, RecursionError):
            raise not_a_garden(self._connection.address, "an event of it is not JSON") from None

    def close(self) -> None:
        """End it; `events` in another thread returns."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # whoever reads it wakes up
        with contextlib.suppress(*_FAILURES, ValueError):
            self._response.close()
        self._connection.close()


def _connect(address: ServerAddress) -> http.client.HTTPConnection:
    if address.scheme == "https":
        context = ssl.create_default_context()
        secure = http.client.HTTPSConnection(address.host, address.port, timeout=_CONNECT_TIMEOUT, context=context)
        secure.connect()
        return secure
    plain = http.client.HTTPConnection(address.host, address.port, timeout=_CONNECT_TIMEOUT)
    plain.connect()
    return plain


def _lowered(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _unpacked(data: bytes) -> bytes:
    """Unpack an answer, up to the longest that is accepted."""
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    unpacked = unpacker.decompress(data, _MAX_ANSWER)
    if unpacker.unconsumed_tail:
        raise ValueError("too long")
    return unpacked
