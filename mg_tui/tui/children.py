"""Engine programs as the dashboard uses them: a thread speaks to the child and posts what it says.

The child is started with the first request and lives until `end`, so that a loaded model stays loaded between
questions. Pieces of an answer are put together before they are posted: over a slow link it is messages that count.
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

if TYPE_CHECKING:
    from mg_tui.runs.child import EngineChild

_PATIENCE: Final = 0.3  # seconds a child that is ended is given for each stronger way of asking


class ChildSaid(Message):
    """An event of a request; `last` when it is the reply that ends it."""

    def __init__(self, child: "Child", op: str, event: Mapping[str, Any], last: bool) -> None:
        super().__init__()
        self.child, self.op, self.event, self.last = child, op, event, last


class ChildFailed(Message):
    """A request ended with an error. `gone`: the child is no more; the next request starts another."""

    def __init__(self, child: "Child", op: str, error: GardenError, gone: bool) -> None:
        super().__init__()
        self.child, self.op, self.error, self.gone = child, op, error, gone


@dataclass(frozen=True, slots=True)
class _Request:
    op: str
    fields: Mapping[str, Any]


class Child(threading.Thread):
    """Requests to one engine program, one after the other."""

    def __init__(self, target: MessagePump, program: str, *, every: float = 0.1, patience: float = _PATIENCE) -> None:
        """`every`: seconds between two messages with pieces of an answer. `patience`: see `EngineChild.close`."""
        super().__init__(daemon=True, name=program)
        self._target, self._program, self._every, self._patience = target, program, every, patience
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._child: EngineChild | None = None
        self._lock = threading.Lock()
        self._ended = False

    @property
    def pid(self) -> int | None:
        """The child's process id while it lives."""
        child = self._child
        return child.pid if child is not None else None

    def ask(self, op: str, **fields: Any) -> None:
        """Have a request sent once those before it are answered."""
        self._requests.put(_Request(op, fields))
        if not self.is_alive() and not self._ended:
            self.start()

    def cancel(self) -> None:
        """End the request being worked on early, as far as the program hears of it."""
        with self._lock, contextlib.suppress(GardenError, OSError, ValueError):
            if self._child is not None:
                self._child.send("cancel")

    def end(self) -> None:
        """End the child, whatever it is doing; returns at once, and nothing more is posted."""
        self._ended = True
        self._requests.put(None)
        if not self.is_alive():
            return
        # At once, and not in a thread: when the dashboard itself ends, its threads do not get as far.
        if (child := self._child) is not None:
            with contextlib.suppress(OSError):
                child.terminate()
        threading.Thread(target=self._close, daemon=True, name=f"{self.name} end").start()

    def run(self) -> None:
        while (request := self._requests.get()) is not None and not self._ended:
            try:
                self._work(request)
            except GardenError as error:
                self._fail(request.op, error)
            except Exception as error:  # a bug in the child, or a pipe that broke under us: said, and gone on
                self._fail(request.op, _bug(error))
        self._close()

    def _work(self, request: _Request) -> None:
        with self._lock:
            if self._child is None and not self._ended:
                from mg_tui.runs.child import EngineChild

                self._child = EngineChild(self._program)
            child = self._child
        if child is None:
            return
        from mg_tui.runs.child import PASSING

        pieces: list[str] = []
        posted = 0.0
        for event in child.stream(request.op, **request.fields):
            if event.get("event") == "text":
                pieces.append(str(event.get("text", "")))
                if time.monotonic() - posted < self._every:
                    continue
            if pieces:
                self._say(request.op, {"event": "text", "text": "".join(pieces)}, last=False)
                pieces, posted = [], time.monotonic()
            if event.get("event") != "text":
                self._say(request.op, event, last=event.get("event") not in PASSING)

    def _say(self, op: str, event: Mapping[str, Any], *, last: bool) -> None:
        self._post(ChildSaid(self, op, event, last))

    def _fail(self, op: str, error: GardenError) -> None:
        child = self._child
        gone = child is not None and not child.alive
        if gone:
            self._close()
        self._post(ChildFailed(self, op, error, gone))

    def _post(self, message: Message) -> None:
        if not self._ended:
            with contextlib.suppress(RuntimeError):  # the event loop has closed under it
                self._target.post_message(message)

    def _close(self) -> None:
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            with contextlib.suppress(OSError, ValueError):
                child.close(self._patience)


def _bug(error: Exception) -> GardenError:
    from mg_tui.core.errors import RunFailed

    text = str(error).strip()
    return RunFailed(
        "something in the program went wrong that should not",
        why=text.splitlines()[-1][:400] if text else type(error).__name__,
        hint="please report it; the dashboard goes on",
    )
