"""uvicorn's connections with the deadlines that it lacks. Imported only where a server starts: uvicorn is slow to."""

import asyncio
import json
from collections.abc import Sequence

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from mg_tui.gate.limits import GateLimits
from mg_tui.gate.refusals import PROBLEM_TYPE, problem


class GateConnection(H11Protocol):
    """A connection that is closed when its request line and headers take too long, or when nobody reads its answer.

    Where there are too many, a new one takes the place of the one that has waited longest for a request: whoever only
    holds connections open keeps nobody out. Where all of them have a request under way, the new one is answered 503.
    Subclasses set `limits` and `waiting`, their connections without a request under way, the longest first.
    """

    limits = GateLimits()
    waiting: dict["GateConnection", None]
    _head_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            if not self.waiting:
                self._answer(503, "too-many-connections", "Too many connections.", [(b"retry-after", b"2")])
                return
            next(iter(self.waiting)).end()
        self._set_head_timer()

    def end(self) -> None:
        """Close it at once, whatever it waits for."""
        self._cancel_timers()
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._set_head_timer()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._set_head_timer()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(self.limits.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def send_400_response(self, msg: str) -> None:
        """The answer to bytes that are no HTTP request, or whose headers are too long."""
        if self.conn.our_state is not h11.IDLE and self.conn.our_state is not h11.SEND_RESPONSE:
            self.transport.close()
            return
        self._answer(400, "bad-request", "This is no valid HTTP request.")

    def _answer(self, status: int, code: str, detail: str, more: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Answer what is no request of the application, and close."""
        body = json.dumps(problem(status, code, detail)).encode()
        headers = [
            (b"content-type", PROBLEM_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *more,
        ]
        for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _set_head_timer(self) -> None:
        """While a request's head is awaited, its deadline runs; bytes that trickle in do not move it."""
        awaited = self.cycle is None or self.cycle.response_complete
        if not awaited or self.transport.is_closing():
            self._cancel_head_timer()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.limits.head_seconds, self.end)
            self.waiting[self] = None

    def _cancel_head_timer(self) -> None:
        self.waiting.pop(self, None)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _cancel_timers(self) -> None:
        self._cancel_head_timer()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None


def connection_class(limits: GateLimits) -> type[GateConnection]:
    """The class of connections with these limits."""
    return type("LimitedConnection", (GateConnection,), {"limits": limits, "waiting": {}})
