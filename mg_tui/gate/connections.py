"""uvicorn's connections with the deadlines that it lacks. Imported only where a server starts: uvicorn is slow to."""

import asyncio
import json
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from mg_tui.gate.limits import GateLimits
from mg_tui.gate.refusals import PROBLEM_TYPE, problem


class GateConnection(H11Protocol):
    """A connection that is closed when its request line and headers take too long or when nobody reads its answer. If
    there are too many, the one that has said nothing for longest makes room, so that whoever sends a request is served.
    Subclasses set `limits` and a dictionary of their own for `waiting`.
    """

    limits = GateLimits()
    waiting: ClassVar[dict["GateConnection", None]] = {}  # for the head of a request, those for longest first
    _head_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections and not self._make_room():
            transport.abort()
        else:
            self._set_head_timer()

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
        body = json.dumps(problem(400, "bad-request", "This is no valid HTTP request.")).encode()
        headers = [
            (b"content-type", PROBLEM_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _make_room(self) -> bool:
        """Close the connection that has waited for a request longest, if one has."""
        longest = next(iter(self.waiting), None)
        if longest is None:
            return False
        longest._cancel_head_timer()
        longest.transport.abort()
        return True

    def _set_head_timer(self) -> None:
        """While a request's head is awaited, its deadline runs; bytes that trickle in do not move it."""
        awaited = self.cycle is None or self.cycle.response_complete
        if not awaited or self.transport.is_closing():
            self._cancel_head_timer()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.limits.head_seconds, self.transport.abort)
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
