"""One request and its answer as the gate sees them: counts the body, holds its deadline, completes the headers."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from mg_tui.gate.headers import content_length
from mg_tui.gate.limits import GateLimits
from mg_tui.gate.refusals import Refusal, refusal_body
from mg_tui.gate.rules import AccessRule

_DRAIN_BYTES: Final = 256 << 10  # of the body of a refused request, so that the client reads the answer
_DRAIN_SECONDS: Final = 2.0

_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
)


class HttpExchange:
    """Wraps `receive` and `send` of one request. `status` is that of the answer once it began."""

    def __init__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
        limits: GateLimits,
        request_id: str,
        *,
        as_openai: bool,
    ):
        self.status: int | None = None
        self._scope, self._receive, self._send = scope, receive, send
        self._limits, self._request_id, self._as_openai = limits, request_id, as_openai
        self._refusal: Refusal | None = None
        self._body_done = False
        self._answered = False
        self._received = 0
        self._max_body = limits.max_body
        self._deadline: float | None = None

    def watch_body(self, rule: AccessRule) -> None:
        """Begin the body's time, and refuse one that is declared too long.

        Raises:
            Refusal: 413.
        """
        self._max_body = self._limits.max_body if rule.max_body is None else rule.max_body
        seconds = self._limits.body_seconds if rule.body_seconds is None else rule.body_seconds
        self._deadline = asyncio.get_running_loop().time() + seconds
        if (content_length(self._scope) or 0) > self._max_body:
            raise self._too_large()

    async def receive(self) -> MutableMapping[str, Any]:
        """The next part of the body.

        Raises:
            Refusal: the body is too long or takes too long. The answer is the refusal, whatever the application makes
                of this.
        """
        if self._refusal is not None:
            raise self._refusal
        if self._body_done:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            self._refusal = Refusal(408, "body-too-slow", "The body took too long.")
            raise self._refusal from None
        self._received += len(message.get("body", b""))
        self._body_done = message["type"] != "http.request" or not message.get("more_body", False)
        if self._received > self._max_body:
            self._refusal = self._too_large()
            raise self._refusal
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Pass the answer on, with the headers that every answer has."""
        if self._refusal is not None and self.status is None:
            return  # the application's answer to a body that it did not get; `finish` sends ours
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": self._with_headers(list(message.get("headers", [])))}
        self._answered = message["type"] == "http.response.body" and not message.get("more_body", False)
        await self._send(message)

    async def finish(self) -> None:
        """Send the refusal of the body, if there was one."""
        if self._refusal is not None:
            await self.refuse(self._refusal)

    async def fail(self) -> None:
        """Answer a request whose handler failed, without a word of why: the log has it under the request's id."""
        await self.refuse(
            Refusal(500, "internal-error", f"The server made a mistake; its log has it as request {self._request_id}.")
        )

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with an error.

        Raises:
            ConnectionAbortedError: an answer has begun; the server then closes the connection.
        """
        if self._answered:
            return
        if self.status is not None:
            raise ConnectionAbortedError(refusal.code)
        await self._drain()
        self.status = refusal.status
        content_type, body = refusal_body(
            refusal, as_openai=self._as_openai, instance=f"urn:request:{self._request_id}"
        )
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", str(len(body)).encode()),
            *((name.lower().encode(), value.encode()) for name, value in refusal.headers.items()),
        ]
        if not self._body_done:
            headers.append((b"connection", b"close"))
        start = {"type": "http.response.start", "status": refusal.status, "headers": self._with_headers(headers)}
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _drain(self) -> None:
        """Read a little of a body that nobody wants: many clients read no answer before they have sent everything."""
        if not self._body_done and content_length_or_none(self._scope) == 0:
            self._body_done = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                read = 0
                while not self._body_done and read < _DRAIN_BYTES:
                    message = await self._receive()
                    read += len(message.get("body", b""))
                    self._body_done = message["type"] != "http.request" or not message.get("more_body", False)

    def _with_headers(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        given = {name.lower() for name, _value in headers}
        more = [(name, value) for name, value in _HEADERS if name not in given]
        return [*headers, *more, (b"x-request-id", self._request_id.encode())]

    def _too_large(self) -> Refusal:
        return Refusal(413, "body-too-large", f"The body may have {self._max_body:,} bytes.")


def content_length_or_none(scope: MutableMapping[str, Any]) -> int | None:
    """The declared length of a body; None also for one that is no number."""
    try:
        return content_length(scope)
    except Refusal:
        return None
