"""The child's side of `mg_tui.runs.engine_process`: JSON lines on standard input and output.

Nothing else may write to standard output.
"""

import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, NoReturn, Protocol, Self

from mg_tui.core.errors import GardenError


class ProgressChannel(Protocol):
    """What work tells while it goes on: a `Channel`, or the journal of a job."""

    def send(self, event: str, **fields: Any) -> None:
        """Tell an event: `progress` with `what`, `done` and `total`, or the reply that ends the work."""

    def send_notice(self, text: str) -> None:
        """Tell a message for the user."""


class Channel:
    """Requests in, events out.

    Requests are read by a thread, so that `cancel` and a closed input are noticed during a request.
    """

    def __init__(self, requests: IO[str], events: IO[str]) -> None:
        self._events = events
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._cancel = threading.Event()
        threading.Thread(target=self._read, args=(requests,), daemon=True).start()

    @classmethod
    def from_stdio(cls) -> Self:
        """Take standard output for events alone: whatever libraries print goes to standard error from now on."""
        events = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        return cls(sys.stdin, events)

    def _read(self, requests: IO[str]) -> None:
        for line in requests:
            try:
                request = json.loads(line)
            except ValueError:
                request = None
            if not isinstance(request, dict):
                request = {"op": "a line that is not a JSON object"}
            if request.get("op") == "cancel":
                self._cancel.set()
            else:
                self._queue.put(request)
        self._cancel.set()
        self._queue.put(None)

    def cancelled(self) -> bool:
        """Whether the current request should end early."""
        return self._cancel.is_set()

    def requests(self) -> Iterator[dict[str, Any]]:
        """Requests in order, until the input closes."""
        while (request := self._queue.get()) is not None:
            yield request
            # A cancel belongs to the request during which it arrives; a closed input cancels the last one.
            self._cancel.clear()

    def send(self, event: str, **fields: Any) -> None:
        """Write one event. Ends the process when the reader is gone."""
        try:
            self._events.write(json.dumps({"event": event, **fields}, ensure_ascii=True) + "\n")
            self._events.flush()
        except BrokenPipeError:
            exit_process()

    def send_notice(self, text: str) -> None:
        """Send a message for the user."""
        self.send("notice", text=text)

    def error(self, error: GardenError) -> None:
        """Reply with an error for the user."""
        kinds = [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, GardenError)]
        self.send("error", **error.as_dict(), kinds=kinds, exit_code=error.exit_code)


def exit_process() -> NoReturn:
    """End the process now: an orderly shutdown of torch takes seconds, and nothing has to be saved."""
    sys.stderr.flush()
    os._exit(0)


def serve_stdio(
    operations_of: Callable[[Channel], Mapping[str, Callable[[dict[str, Any]], None]]], *, cleans_up: bool = False
) -> NoReturn:
    """A program: serve requests on standard input until it closes, then end the process.

    Args:
        operations_of: makes the operations, by the names of requests, for the program's channel.
        cleans_up: SIGTERM is an exception then, so that what was written in part is removed.
    """
    if cleans_up:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    channel = Channel.from_stdio()
    serve(channel, operations_of(channel))
    exit_process()


def serve(channel: Channel, operations: Mapping[str, Callable[[dict[str, Any]], None]]) -> None:
    """Answer requests until the input closes; an error ends a request, not the process."""
    from mg_tui.core.errors import UsageError

    for request in channel.requests():
        name = str(request.pop("op", None))
        try:
            if name not in operations:
                raise UsageError(f"unknown request {name!r}", hint="requests are " + ", ".join(operations))
            operations[name](request)
        except GardenError as error:
            channel.error(error)
        except Exception:
            text = traceback.format_exc()
            sys.stderr.write(text)
            channel.send("crash", traceback=text)
