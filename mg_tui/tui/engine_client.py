"""A client of an engine program: a thread sends requests to the child process and posts its events.

The child starts with the first request and lives until `shut_down`, so that a loaded model stays loaded between
requests. Pieces of an answer are joined before they are posted: over a slow link every message costs an update.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from textual.message import Message
from textual.message_pump import MessagePump

from mg_tui.core.errors import GardenError
from mg_tui.tui.posting import post

if TYPE_CHECKING:
    from mg_tui.runs.engine_process import EngineProcess

_CLOSE_TIMEOUT: Final = 0.3  # seconds; see `EngineProcess.close`


class EngineEvent(Message):
    """An event of a request; `is_reply` when it ends the request."""

    def __init__(self, client: "EngineClient", op: str, event: Mapping[str, Any], is_reply: bool) -> None:
        super().__init__()
        self.client, self.op, self.event, self.is_reply = client, op, event, is_reply


class EngineRequestFailed(Message):
    """A request ended with an error. `process_ended`: the child ended too; the next request starts another."""

    def __init__(self, client: "EngineClient", op: str, error: GardenError, process_ended: bool) -> None:
        super().__init__()
        self.client, self.op, self.error, self.process_ended = client, op, error, process_ended


@dataclass(frozen=True, slots=True)
class _EngineRequest:
    op: str
    fields: Mapping[str, Any]


class EngineClient(threading.Thread):
    """Requests to one engine program, one after the other."""

    def __init__(
        self, target: MessagePump, program: str, *, text_interval: float = 0.1, close_timeout: float = _CLOSE_TIMEOUT
    ) -> None:
        """
        Args:
            target: the widget or screen that messages are posted to.
            program: the engine program, a module.
            text_interval: least seconds between two messages with pieces of an answer.
            close_timeout: see `EngineProcess.close`.
        """
        super().__init__(daemon=True, name=program)
        self._target, self._program, self._text_interval = target, program, text_interval
        self._close_timeout = close_timeout
        self._requests: queue.SimpleQueue[_EngineRequest | None] = queue.SimpleQueue()
        self._child: EngineProcess | None = None
        self._lock = threading.Lock()
        self._ended = False

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        child = self._child
        return child.pid if child is not None else None

    def request(self, op: str, **fields: Any) -> None:
        """Send a request once those before it are answered."""
        self._requests.put(_EngineRequest(op, fields))
        if not self.is_alive() and not self._ended:
            self.start()

    def cancel(self) -> None:
        """Cancel the current request, if the program supports it."""
        with self._lock, contextlib.suppress(GardenError, OSError, ValueError):
            if self._child is not None:
                self._child.send("cancel")

    def shut_down(self) -> None:
        """End the child, whatever it is doing; returns at once, and nothing more is posted."""
        self._ended = True
        self._requests.put(None)
        if not self.is_alive():
            return
        # Not in a thread: when the dashboard itself ends, its threads may not get to it.
        if (child := self._child) is not None:
            with contextlib.suppress(OSError):
                child.terminate()
        threading.Thread(target=self._close, daemon=True, name=f"{self.name} end").start()

    def run(self) -> None:
        while (request := self._requests.get()) is not None and not self._ended:
            try:
                self._send(request)
            except GardenError as error:
                self._post_failure(request.op, error)
            except Exception as error:  # a bug in the child, or a broken pipe
                self._post_failure(request.op, _unexpected_error(error))
        self._close()

    def _send(self, request: _EngineRequest) -> None:
        with self._lock:
            if self._child is None and not self._ended:
                from mg_tui.runs.engine_process import EngineProcess

                self._child = EngineProcess(self._program)
            child = self._child
        if child is None:
            return
        from mg_tui.runs.engine_process import INTERMEDIATE_EVENTS

        pieces: list[str] = []
        posted = 0.0
        for event in child.stream(request.op, **request.fields):
            if event.get("event") == "text":
                pieces.append(str(event.get("text", "")))
                if time.monotonic() - posted < self._text_interval:
                    continue
            if pieces:
                self._post_event(request.op, {"event": "text", "text": "".join(pieces)}, is_reply=False)
                pieces, posted = [], time.monotonic()
            if event.get("event") != "text":
                self._post_event(request.op, event, is_reply=event.get("event") not in INTERMEDIATE_EVENTS)

    def _post_event(self, op: str, event: Mapping[str, Any], *, is_reply: bool) -> None:
        self._post(EngineEvent(self, op, event, is_reply))

    def _post_failure(self, op: str, error: GardenError) -> None:
        child = self._child
        process_ended = child is not None and not child.alive
        if process_ended:
            self._close()
        self._post(EngineRequestFailed(self, op, error, process_ended))

    def _post(self, message: Message) -> None:
        if not self._ended:
            post(self._target, message)

    def _close(self) -> None:
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            with contextlib.suppress(OSError, ValueError):
                child.close(self._close_timeout)


def _unexpected_error(error: Exception) -> GardenError:
    from mg_tui.core.errors import RunFailed

    text = str(error).strip()
    return RunFailed(
        "this is a bug in Model Garden",
        why=text.splitlines()[-1][:400] if text else type(error).__name__,
        hint="please report it; the dashboard keeps running",
    )
